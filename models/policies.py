"""Workflow policies of projects; what they mean is in `models.stages`."""

from __future__ import annotations

from typing import Any

from peewee import ForeignKeyField

from models.base import JsonField, Model, Moment, db, id_field, now_ms
from models.projects import Project
from models.stages import Policy


class WorkflowPolicy(Model):
    """What a project demands of each kind of work; at most one per project."""

    label = "Workflow policy"
    project_id: str

    id = id_field("wfp_")
    project = ForeignKeyField(Project, on_delete="CASCADE", unique=True)
    stage_rules = JsonField(default=dict)
    created_at = Moment(default=now_ms)
    updated_at = Moment(default=now_ms)

    class Meta:
        table_name = "workflow_policies"


def of_project(project_id: str) -> Policy | None:
    """The rules of a project; None when it has no policy."""
    text = "SELECT stage_rules FROM workflow_policies WHERE project_id = %s"
    row: Any = db.now(text, (project_id,)).fetchone()
    return row[0] if row else None
