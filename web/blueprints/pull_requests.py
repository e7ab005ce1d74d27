"""Pull requests of tasks."""

from __future__ import annotations

from typing import Any

from flask import g
from flask.views import MethodView

from models.board import Task
from tasks import pull_requests
from web.resources import Blueprint, within
from web.schemas import pull_requests as wire
from web.security import for_agents

blueprint = Blueprint("pull_requests", "Pull requests of tasks")


@blueprint.route("/projects/<project_id>/tasks/<task_id>/pull-request")
class TaskPullRequest(MethodView):
    @for_agents
    @blueprint.arguments(wire.PullRequestForm)
    @blueprint.response(200, wire.Opened)
    def post(self, form: dict[str, Any], project_id: str, task_id: str) -> Any:
        """Open the pull request of a task's branch; while there is one, it is that one."""
        task = within(Task, task_id, project_id)
        return wire.opened(pull_requests.open_for(g.principal, task, form))


@blueprint.route("/projects/<project_id>/tasks/<task_id>/pr-status")
class TaskPullRequestStatus(MethodView):
    @for_agents
    @blueprint.response(200, wire.StandingView)
    def get(self, project_id: str, task_id: str) -> Any:
        """How the task's pull request does: reviews, checks, and whether it could be merged."""
        task = within(Task, task_id, project_id)
        return wire.standing(task, pull_requests.standing_of(task))
