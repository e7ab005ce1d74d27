"""What model calls add up to, per hour, day and month and per run; filled with those there are."""

from __future__ import annotations

from typing import Any

TABLES = """
CREATE TABLE tallies (
    owner_id VARCHAR(128) NOT NULL,
    span VARCHAR(8) NOT NULL,
    start BIGINT NOT NULL,
    type VARCHAR(8) NOT NULL,
    project_id VARCHAR(128) NOT NULL,
    agent_id VARCHAR(128) NOT NULL,
    provider VARCHAR(64) NOT NULL,
    model VARCHAR(256) NOT NULL,
    calls BIGINT NOT NULL,
    unpriced BIGINT NOT NULL,
    input_tokens BIGINT NOT NULL,
    output_tokens BIGINT NOT NULL,
    cache_read_tokens BIGINT NOT NULL,
    cache_write_tokens BIGINT NOT NULL,
    total_tokens BIGINT NOT NULL,
    cost_total DECIMAL(20, 8) NOT NULL,
    PRIMARY KEY (owner_id, span, start, type, project_id, agent_id, provider, model)
) WITH (fillfactor = 80);

CREATE TABLE run_tallies (
    run_id VARCHAR(128) NOT NULL PRIMARY KEY REFERENCES runs (id) ON DELETE CASCADE,
    calls BIGINT NOT NULL,
    unpriced BIGINT NOT NULL,
    input_tokens BIGINT NOT NULL,
    output_tokens BIGINT NOT NULL,
    cache_read_tokens BIGINT NOT NULL,
    cache_write_tokens BIGINT NOT NULL,
    total_tokens BIGINT NOT NULL,
    cost_total DECIMAL(20, 8) NOT NULL
) WITH (fillfactor = 80);
"""
# Written out, because what fills a table once must not change with the code that keeps it.
FILLED = """
INSERT INTO tallies
SELECT coalesce(calls.owner_id, ''), spans.name,
    (extract(epoch FROM date_trunc(
        spans.name, to_timestamp(calls.created_at / 1000) AT TIME ZONE 'UTC') AT TIME ZONE 'UTC'
    ) * 1000)::bigint,
    CASE runs.kind WHEN 'chat' THEN 'chat' ELSE 'run' END,
    coalesce(runs.project_id, chats.project_id, ''), calls.agent_id, calls.provider, calls.model,
    count(*), count(*) FILTER (WHERE calls.cost_total IS NULL),
    sum(calls.input_tokens), sum(calls.output_tokens), sum(calls.cache_read_tokens),
    sum(calls.cache_write_tokens), sum(calls.total_tokens), coalesce(sum(calls.cost_total), 0)
FROM llm_calls AS calls LEFT JOIN runs ON runs.id = calls.run_id
    LEFT JOIN chat_sessions AS chats ON chats.id = calls.run_id
    CROSS JOIN unnest('{day,hour,month}'::text[]) AS spans (name)
GROUP BY 1, 2, 3, 4, 5, 6, 7, 8
"""
FILLED_BY_RUN = """
INSERT INTO run_tallies
SELECT calls.run_id, count(*), count(*) FILTER (WHERE calls.cost_total IS NULL),
    sum(calls.input_tokens), sum(calls.output_tokens), sum(calls.cache_read_tokens),
    sum(calls.cache_write_tokens), sum(calls.total_tokens), coalesce(sum(calls.cost_total), 0)
FROM llm_calls AS calls JOIN runs ON runs.id = calls.run_id
GROUP BY calls.run_id
"""


def up(migrator: Any, db: Any) -> None:
    db.execute_sql(TABLES)
    db.execute_sql(FILLED)
    db.execute_sql(FILLED_BY_RUN)


def down(migrator: Any, db: Any) -> None:
    db.execute_sql("DROP TABLE run_tallies, tallies")
