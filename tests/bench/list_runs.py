"""GET /v1/runs over 100,000 runs, against a bare route that answers as many bytes.

python -m tests.bench.list_runs [--runs 100000] [--seconds 2] [--rounds 3]
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from tests.bench.figures import Contest, spread
from tests.bench.load import once, request, storm
from tests.bench.stage import bare, database, measured
from tests.processes.product import Product

MANY = """
INSERT INTO runs (id, state, attempt, event_seq, priority, kind, pipeline_id, version_id, task,
    owner_id, outputs, meta, created_at, updated_at, completed_at, budgeted, quarantined)
SELECT 'run_' || lpad(to_hex(n), 16, '0'), state, 1, 9, 0, 'pipeline',
    (ARRAY['engineering', 'feature', 'bugfix'])[n %% 3 + 1], version_id,
    'Build part ' || n || ' of a REST API for a todo app', 'usr_' || n %% 50,
    jsonb_build_object('result', 'SUCCESS', 'summary', repeat('Done as asked. ', 10)), '{}',
    1700000000000 + n, 1700000000000 + n,
    CASE WHEN state = 'running' THEN NULL ELSE 1700000000000 + n END, false, false
FROM generate_series(1, %s) AS n,
    LATERAL (SELECT (ARRAY['completed', 'completed', 'completed', 'failed', 'cancelled', 'running'])
        [n / 3 %% 6 + 1] AS state) AS chosen,
    (SELECT version_id FROM pipelines WHERE id = 'engineering') AS pipeline
"""
QUERIES = {
    "limit=100": "?limit=100",
    "limit=100, summary": "?limit=100&fields=summary",
    "limit=0 (count only)": "?limit=0",
    "by status": "?limit=100&status=failed",
    "by pipeline": "?limit=100&pipeline_id=bugfix",
    "by pipeline and status": "?limit=100&pipeline_id=bugfix&status=cancelled",
    "before a moment": "?limit=100&before=1700000050000",
    "offset=5000": "?limit=100&offset=5000",
}
CROWDED = {"limit=100": QUERIES["limit=100"]}


def main() -> None:
    """Fill the table, measure in turns, print."""
    chosen = argparse.ArgumentParser(description=__doc__)
    chosen.add_argument("--runs", type=int, default=100_000)
    chosen.add_argument("--rounds", type=int, default=3)
    chosen.add_argument("--seconds", type=float, default=2)
    given = chosen.parse_args()
    with measured("web") as running, bare(running) as floor, database(running) as connection:
        cursor = connection.cursor()
        cursor.execute(MANY, (given.runs,))
        cursor.execute("VACUUM ANALYZE runs")
        for clients, queries in ((1, QUERIES), (8, CROWDED)):
            for name, query in queries.items():
                path = f"/v1/runs{query}"
                size = len(once(running.url, request("GET", path))[1])
                contenders = {
                    f"bare Flask, {size} bytes": (floor, request("GET", f"/sized/{max(size, 10)}")),
                    f"GET {path}": (running.url, request("GET", path)),
                }
                contest = Contest(f"{name}, {clients} connections, {given.runs} runs")
                for _ in range(given.rounds):
                    for contender, (url, asked) in contenders.items():
                        outcome = storm(url, asked, clients, given.seconds)
                        assert not outcome.refused
                        contest.add(contender, outcome.rate, outcome.milliseconds)
                contest.show("p95 < 100 ms")
        print("\n200 pages by cursor, 1 connection")
        latencies = list(pages(running, 200))
        print(f"  pages {spread(latencies)}; last page {latencies[-1]:.1f} ms")


def pages(running: Product, most: int) -> Iterator[float]:
    """Milliseconds of each page that the `Link` headers lead to."""
    path = "/v1/runs?limit=100"
    for _ in range(most):
        answer = running.client.get(path)
        yield answer.elapsed.total_seconds() * 1000
        path = answer.links["next"]["url"]


if __name__ == "__main__":
    main()
