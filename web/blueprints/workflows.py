"""Workflows: which pipelines work on which tasks of a project."""

from __future__ import annotations

from typing import Any

from flask.views import MethodView

from models.projects import Project, ProjectWorkflow
from tasks import workflows
from web.resources import Blueprint, visible, within
from web.schemas import workflows as wire
from web.schemas.board import Done
from web.schemas.projects import given

blueprint = Blueprint("workflows", "Which pipelines work on which tasks")


@blueprint.route("/projects/<project_id>/workflows")
class Workflows(MethodView):
    @blueprint.response(200, wire.WorkflowView(many=True))
    def get(self, project_id: str) -> Any:
        """The project's workflows, by name."""
        return wire.workflows(visible(Project, project_id, Project.id).id)

    @blueprint.arguments(wire.WorkflowForm)
    @blueprint.response(200, wire.NewWorkflow)
    def post(self, form: dict[str, Any], project_id: str) -> Any:
        """Give the project a further workflow."""
        return workflows.add(visible(Project, project_id, Project.id).id, form)


@blueprint.route("/projects/<project_id>/workflows/<workflow_id>")
class OneWorkflow(MethodView):
    @blueprint.response(200, wire.WorkflowView)
    def get(self, project_id: str, workflow_id: str) -> Any:
        """A workflow."""
        return within(ProjectWorkflow, workflow_id, project_id)

    @blueprint.arguments(wire.WorkflowChange)
    @blueprint.response(200, Done)
    def put(self, form: dict[str, Any], project_id: str, workflow_id: str) -> Any:
        """Change a workflow; null leaves a field as it is."""
        workflows.change(within(ProjectWorkflow, workflow_id, project_id), given(form))
        return {"status": "updated"}

    @blueprint.response(200, Done)
    def delete(self, project_id: str, workflow_id: str) -> Any:
        """Delete a workflow."""
        workflows.delete(within(ProjectWorkflow, workflow_id, project_id))
        return {"status": "deleted"}
