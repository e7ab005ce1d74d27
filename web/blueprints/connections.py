"""Projects' repositories on GitHub."""

from __future__ import annotations

from typing import Any

from flask import g
from flask.views import MethodView

from models import github_app
from models.github import Connection
from models.projects import Project
from models.webhooks import WebhookEvent
from tasks import github, repository_tokens
from web.blueprints.webhooks import NEWEST
from web.resources import Blueprint, page, visible
from web.schemas import github as wire
from web.schemas import webhooks as log
from web.security import internal

blueprint = Blueprint("connections", "Projects' repositories on GitHub")


@blueprint.route("/github/projects/<project_id>/install-url")
class InstallUrl(MethodView):
    @blueprint.response(200, wire.Installing)
    def get(self, project_id: str) -> Any:
        """Where to install the App for a project; the link is good for ten minutes, once."""
        return github.installing(g.principal, visible(Project, project_id))


@blueprint.route("/github/install")
class Install(MethodView):
    @blueprint.arguments(wire.InstallForm, location="query")
    @blueprint.response(200, wire.Installing)
    def get(self, form: dict[str, Any]) -> Any:
        """The same for clients that name the project in the query."""
        return github.installing(g.principal, visible(Project, form["project_id"]))


@blueprint.route("/github/projects/<project_id>/repositories")
class Repositories(MethodView):
    @blueprint.arguments(wire.CoveredForm, location="query")
    @blueprint.response(200, wire.ProjectRepository(many=True))
    def get(self, form: dict[str, Any], project_id: str) -> Any:
        """The repositories that a project could be connected to."""
        visible(Project, project_id)
        return wire.repositories(github_app.every_repository(form["installation_id"]), {})


@blueprint.route("/github/projects/<project_id>/connect")
class Connect(MethodView):
    @blueprint.arguments(wire.ConnectForm)
    @blueprint.response(200, wire.Connected)
    def post(self, form: dict[str, Any], project_id: str) -> Any:
        """Make a repository the project's, in place of any other."""
        return wire.connected(github.connect(g.principal, visible(Project, project_id), form))


@blueprint.route("/github/projects/<project_id>/status", "/projects/<project_id>/github/status")
class Status(MethodView):
    @blueprint.response(200, wire.Status)
    def get(self, project_id: str) -> Any:
        """The project's repository, and when something was last pushed to it."""
        return wire.status(Connection.of(visible(Project, project_id).id))


@blueprint.route("/github/projects/<project_id>/disconnect")
class Disconnect(MethodView):
    @blueprint.response(200, wire.Disconnected)
    def delete(self, project_id: str) -> Any:
        """Part the project from its repository."""
        github.disconnect(g.principal, visible(Project, project_id))
        return {"success": True, "message": "The project has no repository on GitHub any more"}


@blueprint.route("/github/projects/<project_id>/git-token")
class GitToken(MethodView):
    @internal
    @blueprint.response(200, wire.GitToken)
    def get(self, project_id: str) -> Any:
        """A token for the project's repository, limited to it."""
        return wire.opened(repository_tokens.of_project(g.principal, visible(Project, project_id)))


@blueprint.route("/projects/<project_id>/github/webhook-log")
class WebhookLog(MethodView):
    @blueprint.arguments(log.LogForm, location="query")
    @blueprint.response(200, log.Events)
    def get(self, form: dict[str, Any], project_id: str) -> Any:
        """What GitHub has told of the project's repository, newest first."""
        told = WebhookEvent.about(Connection.of(visible(Project, project_id).id))
        return log.events(page(told, form, NEWEST), form)
