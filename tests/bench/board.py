"""A board of 10,000 tasks: what is ready, pages, all of it, a claim, a move; goal p95 20 ms.

python -m tests.bench.board [--tasks 10000] [--rounds 100]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import httpx2

from tests.bench.figures import spread
from tests.bench.stage import bare, database, measured

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
    with measured("web") as running, bare(running) as floor, database(running) as connection:
        project = running.client.post("/v1/projects", json={"name": "Large"}).json()["id"]
        cursor = connection.cursor()
        for statement in (TASKS, EDGES):
            cursor.execute(statement, {"project": project, "tasks": given.tasks})
        for table in ("tasks", "dependency_edges"):
            cursor.execute(f"VACUUM ANALYZE {table}")
        print("floor: as many bytes of a bare server, asked for in turns with ours")
        Board(running.client, f"/v1/projects/{project}", floor).measure(given.rounds)


class Board:
    """A board to be asked, and a bare server to compare with."""

    def __init__(self, client: httpx2.Client, path: str, floor: str) -> None:
        self.client = client
        self.path = path
        self.floor = floor

    def measure(self, rounds: int) -> None:
        """Ask for what clients ask for, the whole of it half as often."""
        for name, query in (
            ("ready-tasks", "/ready-tasks"),
            ("ready-tasks of an agent", "/ready-tasks?agent_id=finn&statuses=ready"),
            ("a page of 100 tasks", "/tasks"),
            ("a page of 500 tasks", "/tasks?limit=500"),
            ("one status, by pages of 500", "/tasks?status=ready&limit=500"),
            ("tasks with a tag and status", "/tasks?tag=api&status=ready"),
            ("one task", "/tasks/task_5"),
        ):
            self._get(name, rounds, f"{self.path}{query}")
        self._get("the list of projects", rounds, "/v1/projects")
        for name, query in (("board", ""), ("graph", "/dependency-graph")):
            self._whole(name, max(3, rounds // 2), f"{self.path}{query}")
        self._get("the timeline", max(3, rounds // 10), f"{self.path}/timeline")
        free = [each for each in range(5, rounds * 15, 5) if each % 3]
        self._time("a claim", rounds, lambda n: self._post(free[n], "claim", agentId="finn"))
        done = {"status": "done", "force": True}
        self._time("done, freeing one", rounds, lambda n: self._post(free[n], "transition", **done))

    def _get(self, name: str, rounds: int, where: str) -> None:
        self._time(name, rounds, lambda _: self.client.get(where))

    def _whole(self, name: str, rounds: int, where: str) -> None:
        """As it was before, after a change of one task, and to who has it already."""
        self._get(f"the whole {name}", rounds, where)
        self._time(f"the whole {name}, one changed", rounds, lambda _: self.client.get(where), True)
        tag = {"If-None-Match": self.client.get(where).headers["ETag"]}
        self._time(f"the {name} one has", rounds, lambda _: self.client.get(where, headers=tag))

    def _change(self, number: int) -> None:
        self.client.put(f"{self.path}/tasks/task_{number}", json={"priority": f"P{number % 4}"})

    def _post(self, number: int, what: str, **body: Any) -> Any:
        return self.client.post(f"{self.path}/tasks/task_{number}/{what}", json=body)

    def _time(
        self, name: str, rounds: int, ask: Callable[[int], Any], changing: bool = False
    ) -> None:
        ours, floors = [], []
        for number in range(rounds):
            if changing:
                self._change(number + 1)
            taken, size = _taken(lambda number=number: ask(number))  # type: ignore[misc]
            ours.append(taken)
            floors.append(_taken(lambda: self.client.get(f"{self.floor}/sized/{size}"))[0])  # noqa: B023
        figures = f"{spread(ours)}, best {min(ours):.1f} ms, {size:,} bytes"
        print(f"{name:30} {figures}; floor p50 {median(floors):.1f} best {min(floors):.1f} ms")


def _taken(ask: Callable[[], Any]) -> tuple[float, int]:
    """Milliseconds until the whole answer was there, and how long that is in bytes."""
    began = time.perf_counter_ns()
    answer = ask()
    taken = (time.perf_counter_ns() - began) / 1e6
    assert answer.status_code in (200, 304), answer.text
    return taken, len(answer.content)


if __name__ == "__main__":
    main()
