"""Workflow policies: what a project demands of each kind of work."""

from __future__ import annotations

from typing import Any

from flask.views import MethodView

from models import policies
from models.board import Task
from models.projects import Project
from tasks import projects
from web.resources import Blueprint, visible, within
from web.schemas import policies as wire
from web.security import for_agents

blueprint = Blueprint("policies", "Workflow policies")


@blueprint.route("/projects/<project_id>/workflow-policy")
class ThePolicy(MethodView):
    @blueprint.response(200, wire.PolicyView)
    def get(self, project_id: str) -> Any:
        """The project's policy, or that there is none."""
        return wire.policy(visible(Project, project_id))

    @blueprint.arguments(wire.PolicyForm)
    @blueprint.response(200, wire.PolicyView)
    def put(self, form: dict[str, Any], project_id: str) -> Any:
        """Say which stages each kind of work goes through."""
        found = projects.set_policy(visible(Project, project_id), form["stage_rules"])
        return wire.stored(found)


@blueprint.route("/projects/<project_id>/tasks/<task_id>/resolve-workflow")
class ResolveWorkflow(MethodView):
    @for_agents
    @blueprint.arguments(wire.WhatIfForm, required=False)
    @blueprint.response(200, wire.Resolved)
    def post(self, form: dict[str, Any], project_id: str, task_id: str) -> Any:
        """Where a task stands, or would stand, in its workflow, and where it may go."""
        project = visible(Project, project_id)
        return policies.resolved(project, within(Task, task_id, project_id), form)


@blueprint.route("/projects/<project_id>/tasks/<task_id>/workflow")
class Workflow(MethodView):
    @for_agents
    @blueprint.response(200, wire.Resolved)
    def get(self, project_id: str, task_id: str) -> Any:
        """Where a task stands in its workflow, and where it may go."""
        project = visible(Project, project_id)
        return policies.resolved(project, within(Task, task_id, project_id), {})
