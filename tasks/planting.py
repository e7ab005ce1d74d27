"""Putting whole plans on a board, and a board into the order that its dependencies ask for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from models import board, plans
from models.base import db
from models.board import BLOCKS, Dependency, Task
from models.errors import Malformed
from models.kanban import Lane
from models.plans import Plan, Planned
from tasks.drafting import drafted, refuse_more
from tasks.moving import Desk


@dataclass(frozen=True)
class Planted:
    """What came of a plan: the ids of its tasks by key and by title, and how many edges."""

    ids: dict[str, str]
    titles: dict[str, str]
    dependencies: int
    skipped: tuple[str, ...]


def import_plan(project_id: str, plan: Plan) -> Planted:
    """Put a plan on a board, whole or not at all; Malformed when it goes round in a circle."""
    around = plans.circle(plan)
    if around:
        raise Malformed(f"The tasks wait for each other in a circle: {' → '.join(around)}")
    with db.atomic():
        desk = Desk(project_id)
        return plant(desk, plan)


def plant(desk: Desk, plan: Plan) -> Planted:
    """Put a plan on a board that is held: what waits for others at the start, the rest as ready."""
    refuse_more(desk.project.id, len(plan.tasks))
    ids = {task.key: Task.id.default() for task in plan.tasks}
    parents = {task.parent for task in plan.tasks if task.parent is not None}
    ends: dict[str, int] = {}
    for each in plan.tasks:
        waits = bool(each.needs) or each.key in parents
        lane, status = _place(desk, waits)
        task = _row(desk, each, status)
        task.id, task.column_id = ids[each.key], lane.id
        task.column_position = ends.get(lane.id) or board.end_of(lane.id)
        ends[lane.id] = task.column_position + 1
        task.add()
    for each in plan.tasks:  # now that all are there
        if each.parent is not None:
            parent = {"parent": ids[each.parent], "task": ids[each.key]}
            db.later("UPDATE tasks SET parent_task_id = %(parent)s WHERE id = %(task)s", parent)
    edges = [(ids[need], ids[each.key]) for each in plan.tasks for need in each.needs]
    for before, after in edges:
        _edge(desk, before, after).add()
    titles = {task.title: ids[task.key] for task in reversed(plan.tasks)}
    desk.tell("tasks_imported", tasksCreated=len(ids), dependenciesCreated=len(edges))
    return Planted(ids, titles, len(edges), plan.skipped)


def reflow(project_id: str) -> tuple[int, int]:
    """Put what waits back to the start and what is free on ready; gives how many of each."""
    with db.atomic():
        desk = Desk(project_id)
        start, ready = desk.board.first("initial"), desk.board.ready
        if start is None or ready is None or start == ready:
            return 0, 0
        rows = db.now(
            _RESTING,
            {
                "project": project_id,
                "resting": [start, ready],
                "done": list(desk.board.means.terminal_done),
            },
        ).fetchall()
        moved = [task_id for task_id, status, waits in rows if waits and status == ready]
        promoted = [task_id for task_id, status, waits in rows if not waits and status == start]
        for task_id in moved:
            desk.move(desk.task(task_id), start, reason="planning_reflow")
        for task_id in promoted:
            desk.move(desk.task(task_id), ready, reason="planning_reflow")
    return len(moved), len(promoted)


_RESTING = """
    SELECT id, status,
        EXISTS (SELECT FROM tasks AS child WHERE child.parent_task_id = tasks.id) OR EXISTS (
            SELECT FROM dependency_edges JOIN tasks AS blocker ON blocker.id = from_task_id
            WHERE to_task_id IN (tasks.id, tasks.parent_task_id) AND type = 'blocks'
                AND NOT blocker.status = ANY(%(done)s::text[]))
    FROM tasks
    WHERE project_id = %(project)s AND status = ANY(%(resting)s::text[]) AND run_id IS NULL
    ORDER BY column_position, id
"""


def _place(desk: Desk, waits: bool) -> tuple[Lane, str]:
    place = desk.board.placement(has_parent=waits)
    if place is None:
        raise Malformed("This project has no column with a status; add one first")
    return place


def _row(desk: Desk, planned: Planned, status: str) -> Task:
    form: dict[str, Any] = {
        "title": planned.title,
        "description": planned.description,
        "priority": planned.priority,
        "tags": list(planned.tags),
        "estimated_hours": planned.hours,
        "work_type": planned.work_type,
    }
    return drafted(desk, form, status)


def _edge(desk: Desk, before: str, after: str) -> Dependency:
    return Dependency(
        id=Dependency.id.default(),
        project=desk.project.id,
        from_task=before,
        to_task=after,
        type=BLOCKS,
    )
