"""Ways through the graph of a board, found anew only for other tasks, hours or dependencies."""

from __future__ import annotations

from dataclasses import dataclass

import orjson

from models import schedule, whole_boards
from models.copies import Copy
from models.kept import kept

SHORTEST = 1.0  # hours of a task that says nothing


@dataclass(frozen=True)
class Ways:
    """The longest way through a board and an order in which it could be done, each as JSON."""

    version: str
    critical: bytes
    order: bytes


def of_board(project_id: str, edges: Copy) -> Ways:
    """The ways through a board with these dependencies, as the transaction sees it."""
    version = f"{whole_boards.structure(project_id)} {edges.version}"
    known: Ways | None = kept.find(("ways", project_id))
    return known if known and known.version == version else _found(project_id, version)


def _found(project_id: str, version: str) -> Ways:
    needs = whole_boards.waits(project_id)
    jobs = [
        schedule.Job(task_id, hours or SHORTEST, tuple(needs.get(task_id, ())))
        for task_id, hours in whole_boards.hours(project_id)
    ]
    found = schedule.scheduled(jobs)
    ways = Ways(version, orjson.dumps(found.critical), orjson.dumps(found.order))
    kept.put(("ways", project_id), ways, len(ways.critical) + len(ways.order))
    return ways
