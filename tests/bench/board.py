"""A board of 10,000 tasks: pages of it, what is ready, a claim, a move; goal p95 20 ms.

python -m tests.bench.board [--tasks 10000] [--rounds 100]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import httpx2

from tests.bench.figures import spread
from tests.bench.stage import database, measured

# in chains of five: the first is ready, the others wait for the one before them
TASKS = """
INSERT INTO tasks (id, project_id, title, description, status, priority, assigned_agent, tags,
    column_id, column_position, metadata, work_type, completed_stages, created_at, updated_at)
SELECT 'task_' || n, %(project)s, 'Build part ' || n, repeat('As everybody agreed. ', 10),
    told.status, 'P' || n %% 4, CASE WHEN n %% 3 = 0 THEN 'finn' END, '["api"]',
    (SELECT id FROM kanban_columns
     WHERE project_id = %(project)s AND task_statuses ? told.status), n, '{}', 'feature', '[]',
    1700000000000 + n, 1700000000000 + n
FROM generate_series(1, %(tasks)s) AS n,
    LATERAL (SELECT CASE n %% 5 WHEN 0 THEN 'ready' ELSE 'backlog' END AS status) AS told
"""
EDGES = """
INSERT INTO dependency_edges (id, project_id, from_task_id, to_task_id, type)
SELECT 'dep_' || n, %(project)s, 'task_' || n - 1, 'task_' || n, 'blocks'
FROM generate_series(2, %(tasks)s) AS n WHERE n %% 5 <> 0
"""


def main() -> None:
    """Fill a board, ask, print how long the answers took."""
    chosen = argparse.ArgumentParser(description=__doc__)
    chosen.add_argument("--tasks", type=int, default=10_000)
    chosen.add_argument("--rounds", type=int, default=100)
    given = chosen.parse_args()
    with measured("web") as running, database(running) as connection:
        project = running.client.post("/v1/projects", json={"name": "Large"}).json()["id"]
        cursor = connection.cursor()
        for statement in (TASKS, EDGES):
            cursor.execute(statement, {"project": project, "tasks": given.tasks})
        for table in ("tasks", "dependency_edges"):
            cursor.execute(f"VACUUM ANALYZE {table}")
        _measure(running.client, f"/v1/projects/{project}", given.rounds)


def _measure(client: httpx2.Client, path: str, rounds: int) -> None:
    for name, query in (
        ("ready-tasks", "/ready-tasks"),
        ("ready-tasks of an agent", "/ready-tasks?agent_id=finn&statuses=ready"),
        ("a page of 100 tasks", "/tasks"),
        ("a page of 500 tasks", "/tasks?limit=500"),
        ("tasks with a tag and status", "/tasks?tag=api&status=ready"),
        ("one task", "/tasks/task_5"),
        ("the list of projects", ""),
    ):
        where = f"{path}{query}" if query else "/v1/projects"
        _time(name, rounds, lambda _, where=where: client.get(where))
    _time("the whole board", 5, lambda _: client.get(path))
    _time("the dependency graph", 5, lambda _: client.get(f"{path}/dependency-graph"))
    free = [each for each in range(5, rounds * 15, 5) if each % 3]
    _time("a claim", rounds, lambda n: _post(client, path, free[n], "claim", agentId="finn"))
    done = {"status": "done", "force": True}
    _time("done, freeing one", rounds, lambda n: _post(client, path, free[n], "transition", **done))


def _post(client: httpx2.Client, path: str, number: int, what: str, **body: Any) -> Any:
    return client.post(f"{path}/tasks/task_{number}/{what}", json=body)


def _time(name: str, rounds: int, ask: Callable[[int], Any]) -> None:
    times, size = [], 0
    for number in range(rounds):
        began = time.perf_counter_ns()
        answer = ask(number)
        times.append((time.perf_counter_ns() - began) / 1e6)
        answer.raise_for_status()
        size = len(answer.content)
    print(f"{name:30} {spread(times)}, best {min(times):.1f} ms, {size:,} bytes")


if __name__ == "__main__":
    main()
