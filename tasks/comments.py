"""Saying something about a task without moving it."""

from __future__ import annotations

from models.base import db, now_ms
from models.board import Task
from tasks.moving import Desk, noted


def add(by: str, task: Task, text: str) -> Task:
    """Write a comment among the notes of the task's moves, as one from its status to the same."""
    with db.atomic():
        desk = Desk(task.project_id)
        task = desk.task(task.id)
        now = now_ms()
        metadata = noted(task, task.status, text, now, by=by)
        task.put(metadata=metadata, updated_at=now)
        desk.tell("task_updated", taskId=task.id)
    return task
