"""Workflows of a project on the wire."""

from __future__ import annotations

from marshmallow import fields, validate

from models.projects import ProjectWorkflow
from web.bodies import Flag, Form, Text
from web.schemas.base import Free, derived, made
from web.schemas.board_forms import ID, NAME

WorkflowView = made(
    "WorkflowView",
    {
        **derived(ProjectWorkflow, "id", "name", "pipeline_id", "is_default", "trigger"),
        "project_id": fields.String(),
        "task_filter": Free(metadata={"example": {"tags": ["bug"]}}),
    },
)


NewWorkflow = made("NewWorkflow", derived(ProjectWorkflow, "id", "name", "pipeline_id"))


class WorkflowForm(Form):
    """A pipeline for tasks of a kind."""

    name = Text(required=True, validate=NAME)
    pipeline_id = Text(
        data_key="pipelineId", required=True, validate=ID, metadata={"example": "engineering"}
    )
    is_default = Flag(data_key="isDefault", load_default=False)
    task_filter = fields.Dict(
        data_key="taskFilter", load_default=dict, metadata={"example": {"tags": ["bug"]}}
    )
    trigger = fields.String(load_default="manual", validate=validate.Length(1, 32))


class WorkflowChange(Form):
    """What is to be different about a workflow."""

    name = fields.String(allow_none=True, validate=NAME)
    pipeline_id = fields.String(
        data_key="pipelineId", allow_none=True, validate=ID, metadata={"example": "engineering"}
    )
    is_default = Flag(data_key="isDefault", allow_none=True)
    task_filter = fields.Dict(
        data_key="taskFilter", allow_none=True, metadata={"example": {"tags": ["bug"]}}
    )
    trigger = fields.String(allow_none=True, validate=validate.Length(1, 32))


def workflows(project_id: str) -> list[ProjectWorkflow]:
    """The workflows of a project."""
    mine = ProjectWorkflow.select().where(ProjectWorkflow.project == project_id)
    return list(mine.order_by(ProjectWorkflow.name, ProjectWorkflow.id))
