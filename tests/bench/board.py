"""A board of 10,000 tasks: what is ready, pages, all of it, a claim, a move; goal p95 20 ms.

What is read is thrown away as it comes: whoever makes objects of it takes longer than the server.

python -m tests.bench.board [--tasks 10000] [--rounds 100]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from statistics import median
from typing import Any

from tests.bench.figures import spread
from tests.bench.load import Reader, request
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
        Board(Reader(running.url), f"/v1/projects/{project}", Reader(floor)).measure(given.rounds)


ASKED = {
    "ready-tasks": "/ready-tasks",
    "ready-tasks of an agent": "/ready-tasks?agent_id=finn&statuses=ready",
    "the first 100 tasks": "/tasks",
    "a page of 500 tasks": "/tasks?limit=500",
    "a column, by pages of 500": "/tasks?status=ready&limit=500",
    "tasks with a tag and status": "/tasks?tag=api&status=ready",
    "one task": "/tasks/task_5",
}


class Board:
    """A board to be asked, and a bare server to compare with."""

    def __init__(self, product: Reader, path: str, floor: Reader) -> None:
        self.product = product
        self.path = path
        self.floor = floor

    def measure(self, rounds: int) -> None:
        """Ask for what clients ask for."""
        for name, query in ASKED.items():
            self._time(name, rounds, lambda _, query=query: self._get(query))
        self._time("the list of projects", rounds, lambda _: request("GET", "/v1/projects"))
        for name, query in (("the whole board", ""), ("its graph", "/dependency-graph")):
            self._whole(name, rounds, query)
        self._time("the timeline", max(3, rounds // 10), lambda _: self._get("/timeline"))
        free = [each for each in range(5, rounds * 15, 5) if each % 3]
        done = {"status": "done", "force": True}
        self._time("a claim", rounds, lambda n: self._act(free[n], "claim", agentId="finn"))
        self._time("done, freeing one", rounds, lambda n: self._act(free[n], "transition", **done))

    def _whole(self, name: str, rounds: int, query: str) -> None:
        """As it was the last time, after a change of one task, and to who has it already."""
        self._time(name, rounds, lambda _: self._get(query))
        self._time(f"{name}, one task changed", rounds, lambda _: self._get(query), self._change)
        *_, headers = self.product.ask(self._get(query))
        known = self._get(query, If_None_Match=headers["etag"])
        self._time(f"{name}, to who has it", rounds, lambda _: known)

    def _get(self, query: str, **headers: str) -> bytes:
        return request("GET", f"{self.path}{query}", None, **headers)

    def _act(self, number: int, what: str, **body: Any) -> bytes:
        return request("POST", f"{self.path}/tasks/task_{number}/{what}", body)

    def _change(self, number: int) -> None:
        change = {"priority": f"P{number % 4}"}
        self.product.ask(request("PUT", f"{self.path}/tasks/task_{number + 1}", change))

    def _time(
        self,
        name: str,
        rounds: int,
        asked: Callable[[int], bytes],
        before: Callable[[int], None] = lambda _: None,
    ) -> None:
        ours, floors, size = [], [], 0
        for number in range(rounds):
            before(number)
            taken, size = _taken(self.product, asked(number))
            ours.append(taken)
            floors.append(_taken(self.floor, request("GET", f"/sized/{size}"))[0])
        figures = f"{spread(ours)}, best {min(ours):.1f} ms, {size:,} bytes"
        print(f"{name:34} {figures}; floor p50 {median(floors):.1f} best {min(floors):.1f} ms")


def _taken(server: Reader, asked: bytes) -> tuple[float, int]:
    """Milliseconds until the whole answer was there, and how long that is in bytes."""
    began = time.perf_counter_ns()
    status, size, _ = server.ask(asked)
    taken = (time.perf_counter_ns() - began) / 1e6
    assert status in (200, 304), status
    return taken, size


if __name__ == "__main__":
    main()
