"""Changing the columns of boards."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from models.base import db
from models.board import MOST_COLUMNS, Column, Task
from models.errors import Conflict, Malformed
from tasks.moving import Desk
from tasks.projects import refuse_double


def add(project_id: str, form: Mapping[str, Any]) -> Column:
    """Give a board a further column; by default behind the others."""
    with db.atomic():
        desk = Desk(project_id)
        columns = Column.of(project_id)
        if len(columns) >= MOST_COLUMNS:
            raise Conflict(f"A board has at most {MOST_COLUMNS} columns")
        statuses = form.get("task_statuses") or []
        refuse_double([statuses, *(each.task_statuses for each in columns)])
        last = max((each.position for each in columns), default=-1)
        position = form.get("position")
        column = Column(
            id=Column.id.default(),
            project=project_id,
            name=form["name"],
            position=last + 1 if position is None else position,
            wip_limit=form.get("wip_limit"),
            task_statuses=statuses,
        ).add()
        desk.tell("project_updated", columnId=column.id)
    return column


def change(column: Column, form: Mapping[str, Any]) -> bool:
    """Change a column; whether that changed anything. No status of a task is taken away."""
    with db.atomic():
        desk = Desk(column.project_id)
        column = Column.get_by_id(column.id)
        changes = {name: value for name, value in form.items() if value != getattr(column, name)}
        if not changes:
            return False
        if "task_statuses" in changes:
            _refuse_homeless(column, changes["task_statuses"])
        column.put(**changes)
        desk.tell("project_updated", columnId=column.id)
    return True


def delete(column: Column) -> None:
    """Take an empty column off its board; Malformed while it has tasks."""
    with db.atomic():
        desk = Desk(column.project_id)
        if Task.select().where(Task.column == column.id).exists():
            raise Malformed("The column still has tasks; move them first")
        Column.delete().where(Column.id == column.id).execute()
        desk.tell("project_updated", columnId=column.id)


def _refuse_homeless(column: Column, statuses: list[str]) -> None:
    others = [each for each in Column.of(column.project_id) if each.id != column.id]
    refuse_double([statuses, *(each.task_statuses for each in others)])
    lost = (Task.column == column.id) & Task.status.not_in(list(statuses))
    if Task.select().where(lost).exists():
        raise Conflict("Tasks in this column have a status that it would no longer have")
