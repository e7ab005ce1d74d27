"""Changing which pipelines work on which tasks of a project."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from models.base import db
from models.errors import Conflict
from models.pipelines import Pipeline
from models.projects import ProjectWorkflow
from tasks.moving import Desk

MOST = 100


def add(project_id: str, form: Mapping[str, Any]) -> ProjectWorkflow:
    """Give a project a further workflow; a new default takes the place of the old one."""
    _refuse_unknown(form["pipeline_id"])
    with db.atomic():
        desk = Desk(project_id)
        if ProjectWorkflow.select().where(ProjectWorkflow.project == project_id).count() >= MOST:
            raise Conflict(f"A project has at most {MOST} workflows")
        _make_room(project_id, form)
        row = ProjectWorkflow(id=ProjectWorkflow.id.default(), project=project_id, **form).add()
        desk.tell("project_updated", workflowId=row.id)
    return row


def change(workflow: ProjectWorkflow, form: Mapping[str, Any]) -> None:
    """Change a workflow; tasks that took its pipeline over keep it."""
    if "pipeline_id" in form:
        _refuse_unknown(form["pipeline_id"])
    with db.atomic():
        desk = Desk(workflow.project_id)
        _make_room(workflow.project_id, form)
        if form:
            workflow.put(**form)
        desk.tell("project_updated", workflowId=workflow.id)


def delete(workflow: ProjectWorkflow) -> None:
    """Delete a workflow; tasks that named it go by the project's default."""
    with db.atomic():
        desk = Desk(workflow.project_id)
        ProjectWorkflow.delete().where(ProjectWorkflow.id == workflow.id).execute()
        desk.tell("project_updated", workflowId=workflow.id)


def _make_room(project_id: str, form: Mapping[str, Any]) -> None:
    if form.get("is_default"):
        mine = (ProjectWorkflow.project == project_id) & ProjectWorkflow.is_default
        ProjectWorkflow.update(is_default=False).where(mine).execute()


def _refuse_unknown(pipeline_id: str) -> None:
    if not Pipeline.select().where(Pipeline.id == pipeline_id).exists():
        raise Pipeline.missing(pipeline_id)
