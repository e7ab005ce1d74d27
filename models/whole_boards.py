"""Whole boards in one look: as the JSON that clients read, which Postgres writes, or in plain rows.

Rows of ours would take ten times as long where there are thousands.
"""

from __future__ import annotations

from typing import Any

from peewee import fn

from models.base import db
from models.board import Task
from models.copies import Listing

SHOWN = (
    *("id", "project_id", "title", "description", "status", "priority", "assigned_agent"),
    *("workflow_id", "pipeline_id", "run_id", "parent_task_id", "tags", "estimated_hours"),
    *("column_id", "column_position", "metadata", "work_type", "completed_stages"),
    *("spec_review_status", "quality_review_status", "spec_review_notes"),
    *("quality_review_notes", "created_at", "updated_at", "completed_at"),
)
NODE = ("id", "title", "status", "priority", "assigned_agent", "estimated_hours")
EDGE = ("id", "project_id", "from_task_id", "to_task_id", "type")


TASKS = Listing("tasks", SHOWN, ("column_position", "id"))
NODES = Listing("tasks", NODE, ("column_position", "id"))
EDGES = Listing("dependency_edges", EDGE, ("id",))


def one_by_one(*columns: Any) -> Any:
    """A query of tasks, each with these columns and, as `shown`, its JSON."""
    fields = Task._meta.columns
    pairs = [part for name in SHOWN for part in (name, fields[name])]
    return Task.select(*columns, fn.json_build_object(*pairs).cast("text").alias("shown"))


def in_place(project_id: str, *columns: str) -> list[Any]:
    """These columns of all tasks of a project, by their place."""
    text = f"""
        SELECT {", ".join(columns)} FROM tasks WHERE project_id = %s ORDER BY column_position, id
    """  # noqa: S608
    return list(db.now(text, (project_id,)).fetchall())


def hours(project_id: str) -> list[tuple[str, float | None]]:
    """How many hours each task of a project takes, in the order in which they were made."""
    text = """
        SELECT id, estimated_hours FROM tasks WHERE project_id = %s ORDER BY created_at, id
    """
    return list(db.now(text, (project_id,)).fetchall())


def waits(project_id: str) -> dict[str, list[str]]:
    """What each task of a project waits for, by the task's id; those that wait for nothing not."""
    text = """
        SELECT to_task_id, from_task_id FROM dependency_edges
        WHERE project_id = %s AND type = 'blocks' ORDER BY id
    """
    found: dict[str, list[str]] = {}
    for task_id, blocker in db.now(text, (project_id,)):
        found.setdefault(task_id, []).append(blocker)
    return found


def structure(project_id: str) -> str:
    """Another text when there are other tasks, or one takes other hours."""
    text = """
        SELECT concat_ws('.', count(*), sum(hash_record_extended((id, estimated_hours), 0)))
        FROM tasks WHERE project_id = %s
    """
    return str(db.now(text, (project_id,)).fetchone()[0])
