"""Calls that are not yet in the tallies, and what both say together."""

from __future__ import annotations

from typing import Any

# Both halves of the view have columns of the same types; else Postgres would read all tallies of
# an owner before it looks at the span.
MADE = """
CREATE TABLE fresh_calls (
    call_id VARCHAR(128) NOT NULL PRIMARY KEY REFERENCES llm_calls (id) ON DELETE CASCADE
);
CREATE VIEW usage AS
SELECT owner_id, span, start, type, project_id, agent_id, provider, model, calls, unpriced,
    input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, total_tokens, cost_total
FROM tallies
UNION ALL
SELECT coalesce(calls.owner_id, ''), spans.name::varchar,
    (extract(epoch FROM date_trunc(
        spans.name, to_timestamp(calls.created_at / 1000) AT TIME ZONE 'UTC') AT TIME ZONE 'UTC'
    ) * 1000)::bigint,
    CASE runs.kind WHEN 'chat' THEN 'chat'::varchar ELSE 'run' END,
    coalesce(runs.project_id, chats.project_id, ''), calls.agent_id, calls.provider, calls.model,
    1::bigint, (calls.cost_total IS NULL)::int::bigint,
    calls.input_tokens::bigint, calls.output_tokens::bigint, calls.cache_read_tokens::bigint,
    calls.cache_write_tokens::bigint, calls.total_tokens::bigint, coalesce(calls.cost_total, 0)
FROM fresh_calls JOIN llm_calls AS calls ON calls.id = fresh_calls.call_id
    LEFT JOIN runs ON runs.id = calls.run_id
    LEFT JOIN chat_sessions AS chats ON chats.id = calls.run_id
    CROSS JOIN unnest('{day,hour,month}'::text[]) AS spans (name);
"""


def up(migrator: Any, db: Any) -> None:
    db.execute_sql(MADE)


def down(migrator: Any, db: Any) -> None:
    db.execute_sql("DROP VIEW usage")
    db.execute_sql("DROP TABLE fresh_calls")
