"""Swarms that work through a board: its tasks and dependencies as they stand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from models import board
from models.board import BLOCKS, Dependency, Task
from models.errors import Malformed
from models.principals import Principal
from models.projects import ACTIVE, Project
from models.swarms import Swarm
from tasks import swarms

MOST = 20  # tasks of a swarm


@dataclass(frozen=True)
class Draft:
    """The tasks of a swarm as one asks for them, and which were left out and why."""

    tasks: list[dict[str, Any]]
    skipped: list[dict[str, str]]


def drafted(project: Project, task_ids: list[str] | None) -> Draft:
    """The tasks that could be begun, or that wait only for others among them, most urgent first."""
    chosen = Task.select().where(Task.project == project.id)
    if task_ids is not None:
        chosen = chosen.where(Task.id.in_(task_ids))
    layout = board.layout(project)
    over = (*layout.means.terminal_done, *layout.means.terminal_fail)
    undone, whole = Task.status.not_in(list(over)), Task.id.not_in(_parents(project))
    rows = chosen.where(undone, whole, Task.run_id.is_null())
    order = Task.priority, Task.column_position, Task.id
    open_ones = {task.id: task for task in rows.order_by(*order)}
    needs = _needs(project, layout.means.terminal_done)
    kept, skipped = _closed(open_ones, needs)
    tasks = [_order(task, needs.get(task.id, [])) for task in kept]
    return Draft(tasks, skipped)


def launch(principal: Principal, project: Project, form: Mapping[str, Any]) -> tuple[Swarm, Draft]:
    """Have a swarm of one agent's executors work through a board; their ends move the tasks."""
    draft = drafted(project, form.get("task_ids"))
    if project.state != ACTIVE or not draft.tasks:
        raise Malformed("There is no task that a swarm could begin with")
    asked = {name: value for name, value in form.items() if name != "task_ids"}
    return swarms.launch(principal.id, {**asked, "tasks": draft.tasks}), draft


def _parents(project: Project) -> Any:
    """The query for the tasks that have subtasks."""
    part = Task.alias()
    parts = (part.project == project.id) & part.parent_task.is_null(False)
    return part.select(part.parent_task).where(parts)


def _needs(project: Project, done: tuple[str, ...]) -> dict[str, list[str]]:
    """What each task waits for that is not done."""
    blocking = (Dependency.project == project.id) & (Dependency.type == BLOCKS)
    rows: Any = Dependency.select(Dependency.from_task, Dependency.to_task).where(blocking)
    undone: Any = Task.select(Task.id).where(
        (Task.project == project.id) & Task.status.not_in(list(done))
    )
    waiting = {task_id for (task_id,) in undone.tuples()}
    needs: dict[str, list[str]] = {}
    for before, after in rows.tuples():
        if before in waiting:
            needs.setdefault(after, []).append(before)
    return needs


def _closed(
    tasks: Mapping[str, Task], needs: Mapping[str, list[str]]
) -> tuple[list[Task], list[dict[str, str]]]:
    """The tasks whose needs are among those before them, at most MOST; why others are not."""
    kept: dict[str, Task] = {}
    while len(kept) < MOST:
        fitting = (
            task
            for task in tasks.values()
            if task.id not in kept and set(needs.get(task.id, ())) <= set(kept)
        )
        task = next(fitting, None)
        if task is None:
            break
        kept[task.id] = task
    left = [task for task in tasks.values() if task.id not in kept]
    why = "the swarm is full" if len(kept) == MOST else "it waits for a task outside the swarm"
    return list(kept.values()), [{"task_id": task.id, "reason": why} for task in left]


def _order(task: Task, needs: list[str]) -> dict[str, Any]:
    return {
        "key": task.id,
        "title": task.title[:500],
        "project_id": task.project_id,
        "task_id": task.id,
        "execution_prompt": f"{task.title}\n\n{task.description}".strip(),
        "dependencies": needs,
    }
