"""What stands around a task: what it waits for, what waits for it, its parts, who worked on it."""

from __future__ import annotations

from dataclasses import dataclass

from models.board import Dependency, Task, TaskRun

LAST_RUNS = 100

Edge = tuple[Dependency, Task]  # and the task at its other end


@dataclass(frozen=True)
class Surroundings:
    """The edges to and from a task, its parts by their place, its executions, newest first."""

    before: list[Edge]
    after: list[Edge]
    parts: list[Task]
    runs: list[TaskRun]


def around(task: Task) -> Surroundings:
    """Everything that stands around a task, in four looks."""
    touching = (Dependency.from_task == task.id) | (Dependency.to_task == task.id)
    edges = list(Dependency.select().where(touching).order_by(Dependency.id))
    others = {edge.from_task_id for edge in edges} | {edge.to_task_id for edge in edges}
    known = {each.id: each for each in Task.select().where(Task.id.in_(list(others)))}
    parts = Task.select().where(Task.parent_task == task.id)
    history = TaskRun.select().where(TaskRun.task == task.id)
    return Surroundings(
        before=[(edge, known[edge.from_task_id]) for edge in edges if edge.to_task_id == task.id],
        after=[(edge, known[edge.to_task_id]) for edge in edges if edge.from_task_id == task.id],
        parts=list(parts.order_by(Task.column_position, Task.id)),
        runs=list(history.order_by(TaskRun.started_at.desc(), TaskRun.id).limit(LAST_RUNS)),
    )
