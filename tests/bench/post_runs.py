"""POST /v1/runs against a bare route and a bare route with two inserts: nobody works them off.

python -m tests.bench.post_runs [--rounds 5] [--seconds 3]
"""

from __future__ import annotations

import argparse

from tests.bench.figures import Contest
from tests.bench.floors import TABLES
from tests.bench.load import request, storm
from tests.bench.stage import bare, database, measured

FORM = {
    "pipeline_id": "engineering",
    "task_description": "Build a REST API for a todo app",
    "model_override": "scripted/demo",
}


def main() -> None:
    """Measure in turns and print."""
    chosen = argparse.ArgumentParser(description=__doc__)
    chosen.add_argument("--rounds", type=int, default=5)
    chosen.add_argument("--seconds", type=float, default=3)
    given = chosen.parse_args()
    with measured("web") as running, bare(running) as floor, database(running) as connection:
        connection.cursor().execute(TABLES)
        contenders = {
            "bare Flask": (floor, request("POST", "/nothing", FORM)),
            "bare Flask + 2 inserts (psycopg2)": (floor, request("POST", "/inserts", FORM)),
            "POST /v1/runs": (running.url, request("POST", "/v1/runs", FORM)),
        }
        for clients, goal in ((1, ""), (16, ">= 1200/s, p99 <= 40 ms")):
            contest = Contest(f"POST /v1/runs, {clients} connections")
            for url, asked in contenders.values():
                storm(url, asked, clients, 1)  # warm
            for _ in range(given.rounds):
                for name, (url, asked) in contenders.items():
                    outcome = storm(url, asked, clients, given.seconds)
                    assert not outcome.refused, f"{name}: {outcome.refused} refused"
                    contest.add(name, outcome.rate, outcome.milliseconds)
            contest.show(goal)


if __name__ == "__main__":
    main()
