"""Usage over a million model calls of one user, beside counting the calls; goal 50 ms a page.

python -m tests.bench.usage [--calls 1000000] [--rounds 50]
"""

from __future__ import annotations

import argparse
import importlib
import time
from typing import Any

from models import spans
from models.principals import ANONYMOUS
from tests.bench.figures import spread
from tests.bench.stage import database, measured

# A year: fifty runs a day, twenty calls in each, by eight agents on three models in five projects.
RUNS = """
INSERT INTO runs (id, state, attempt, event_seq, priority, kind, pipeline_id, version_id, task,
    owner_id, project_id, outputs, meta, budgeted, quarantined, created_at, updated_at,
    completed_at)
SELECT 'run_' || n, (ARRAY['completed', 'completed', 'completed', 'failed'])[n %% 4 + 1], 1, 0, 0,
    'pipeline', 'engineering', version_id, 'Build part ' || n, %(owner)s, 'proj_' || n %% 5,
    '{}', '{}', false, false, %(since)s + n::bigint * %(apart)s * 20, 1, 1
FROM generate_series(0, %(runs)s - 1) AS n,
    (SELECT version_id FROM pipelines WHERE id = 'engineering') AS pipeline
"""
CALLS = """
INSERT INTO llm_calls (id, turn, run_id, agent_id, owner_id, provider, model, input_tokens,
    output_tokens, cache_read_tokens, cache_write_tokens, total_tokens, cost_total,
    cost_approximate, tool_call_count, has_thinking, created_at)
SELECT 'llmcall' || n, n, 'run_' || n / 20, 'agent_' || n / 5 %% 8, %(owner)s,
    (ARRAY['anthropic', 'openai', 'groq'])[n %% 3 + 1], 'model-' || n %% 3, 900, 100, 0, 0, 1000,
    0.00123457, false, 0, false, %(since)s + n::bigint * %(apart)s
FROM generate_series(0, %(calls)s - 1) AS n
"""
YEAR_MS = 365 * spans.DAY_MS
PLAIN = """
SELECT count(*), sum(input_tokens), sum(output_tokens), sum(cache_read_tokens),
    sum(cache_write_tokens), sum(total_tokens), sum(cost_total)
FROM llm_calls WHERE owner_id = %(owner)s
"""
PLAIN_DAYS = """
SELECT created_at / 86400000 AS day, agent_id, count(*), sum(total_tokens), sum(cost_total)
FROM llm_calls WHERE owner_id = %(owner)s AND created_at >= %(month)s GROUP BY day, agent_id
"""


def main() -> None:
    """Fill a year, ask, print."""
    chosen = argparse.ArgumentParser(description=__doc__)
    chosen.add_argument("--calls", type=int, default=1_000_000)
    chosen.add_argument("--rounds", type=int, default=50)
    given = chosen.parse_args()
    now = int(time.time() * 1000)
    told: dict[str, Any] = {
        "owner": ANONYMOUS.id,
        "calls": given.calls,
        "runs": -(-given.calls // 20),
        "since": now - YEAR_MS,
        "apart": YEAR_MS // given.calls,
        "month": now - 30 * spans.DAY_MS,
    }
    with measured("web") as running, database(running) as connection:
        cursor = connection.cursor()
        for statement in (RUNS, CALLS):
            cursor.execute(statement, told)
        _fill(cursor)
        for table in ("runs", "llm_calls", "tallies", "run_tallies"):
            cursor.execute(f"VACUUM ANALYZE {table}")
        cursor.execute("SELECT count(*) FROM tallies")
        print(f"{given.calls} calls, {cursor.fetchone()[0]} tallies")
        for name, path in PAGES.items():
            _time(name, given.rounds, lambda path=path: _asked(running.client, path))
        for name, statement in (("all calls", PLAIN), ("a month by agent", PLAIN_DAYS)):
            told_plainly = f"plain GROUP BY, {name}"
            _time(told_plainly, 5, lambda text=statement: cursor.execute(text, told))


PAGES = {
    "the summary and 50 runs": "/v1/usage",
    "the summary of failed runs": "/v1/usage?status=failed",
    "the summary of completed runs": "/v1/usage?status=completed",
    "a month by day": "/v1/usage/history",
    "a month by day and agent": "/v1/usage/history?group_by=agent",
    "a month by day and project": "/v1/usage/history?group_by=project",
    "a year by month and model": "/v1/usage/history?granularity=month&group_by=model",
    "a week by hour": "/v1/usage/history?granularity=hour",
    "a year by day": f"/v1/usage/history?from={int(time.time() * 1000) - YEAR_MS}",
}


def _fill(cursor: Any) -> None:
    filling = importlib.import_module("models.migrations.0022_usage")
    started = time.perf_counter()
    cursor.execute(filling.FILLED)
    cursor.execute(filling.FILLED_BY_RUN)
    print(f"the migration counts them in {time.perf_counter() - started:.1f} s")


def _asked(client: Any, path: str) -> None:
    client.get(path).raise_for_status()


def _time(name: str, rounds: int, act: Any) -> None:
    times = []
    for _ in range(rounds):
        started = time.perf_counter()
        act()
        times.append((time.perf_counter() - started) * 1000)
    print(f"  {name:32} {spread(times)}")


if __name__ == "__main__":
    main()
