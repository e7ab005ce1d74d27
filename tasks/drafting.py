"""Making the rows of new tasks, for whoever puts them on a board."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from models import work_types
from models.base import now_ms
from models.board import MOST_TASKS, Task, kept_hours
from models.errors import Conflict
from models.projects import ProjectWorkflow
from tasks.moving import Desk


def drafted(desk: Desk, form: Mapping[str, Any], status: str) -> Task:
    """The row of a new task, in no column yet; it takes over its workflow's pipeline."""
    workflow = workflow_of(desk, form.get("workflow_id"))
    tags = form.get("tags") or []
    return Task(
        id=Task.id.default(),
        project=desk.project.id,
        title=form["title"],
        description=form.get("description") or "",
        status=status,
        priority=form.get("priority") or "P2",
        assigned_agent=form.get("assigned_agent") or None,
        workflow_id=workflow and workflow.id,
        pipeline_id=workflow and workflow.pipeline_id,
        tags=tags,
        estimated_hours=kept_hours(form.get("estimated_hours")),
        metadata=form.get("metadata") or {},
        work_type=form.get("work_type") or work_types.inferred(tags, form["title"]),
        completed_at=now_ms() if desk.board.done(status) else None,
    )


def refuse_more(project_id: str, more: int = 1) -> None:
    """Raise Conflict when a board would hold more tasks than one can."""
    if Task.select().where(Task.project == project_id).count() + more > MOST_TASKS:
        raise Conflict(f"A project holds at most {MOST_TASKS} tasks")


def workflow_of(desk: Desk, workflow_id: str | None) -> ProjectWorkflow | None:
    """The workflow of this board with that id, if one is named; NotFound for any other."""
    if not workflow_id:
        return None
    found: ProjectWorkflow | None = ProjectWorkflow.get_or_none(
        (ProjectWorkflow.id == workflow_id) & (ProjectWorkflow.project == desk.project.id)
    )
    if found is None:
        raise ProjectWorkflow.missing(workflow_id)
    return found
