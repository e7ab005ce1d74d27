"""Projects: what teams of people and agents work on."""

from __future__ import annotations

from typing import Any

from flask import g
from flask.views import MethodView

from models.projects import Project
from tasks import projects
from web.resources import Blueprint, Order, governed, page, visible
from web.schemas import projects as wire
from web.schemas.board import Done
from web.whole import UNCHANGED

blueprint = Blueprint("projects", "Projects")
LATEST = Order((Project.updated_at, Project.id))


@blueprint.route("/projects")
class Projects(MethodView):
    @blueprint.arguments(wire.ProjectsForm, location="query")
    @blueprint.response(200, wire.ProjectItem(many=True))
    def get(self, form: dict[str, Any]) -> Any:
        """Projects the caller may see, the last changed first; without archived ones."""
        mine = wire.unarchived(Project.visible_to(g.principal), form)
        return wire.items(page(mine, form, LATEST))

    @blueprint.arguments(wire.ProjectForm)
    @blueprint.response(200, wire.Created)
    def post(self, form: dict[str, Any]) -> Any:
        """Make a project with a board; its repository is cloned in the background."""
        return wire.created(projects.create(g.principal, form))


@blueprint.route("/projects/<project_id>")
class OneProject(MethodView):
    @blueprint.response(200, wire.ProjectDetail)
    @blueprint.alt_response(304, description=UNCHANGED)
    def get(self, project_id: str) -> Any:
        """A project with its whole board."""
        return wire.detailed(visible(Project, project_id))

    @blueprint.arguments(wire.ProjectChange)
    @blueprint.response(200, Done)
    def put(self, form: dict[str, Any], project_id: str) -> Any:
        """Change what a project is; null leaves a field as it is."""
        projects.change(visible(Project, project_id), wire.given(form))
        return {"status": "updated"}

    @blueprint.response(200, wire.Deleted)
    def delete(self, project_id: str) -> Any:
        """Delete a project with its board; runs that are at work for it are cancelled."""
        projects.delete(g.principal, governed(project_id))
        return {"status": "deleted", "project_id": project_id}


@blueprint.route("/projects/<project_id>/archive")
class Archive(MethodView):
    @blueprint.response(200, Done)
    def post(self, project_id: str) -> Any:
        """Put a project away; nothing of it is lost."""
        projects.archive(visible(Project, project_id))
        return {"status": "archived"}


@blueprint.route("/projects/<project_id>/vision")
class Vision(MethodView):
    @blueprint.response(200, wire.Vision)
    def get(self, project_id: str) -> Any:
        """What the project is to become."""
        return {"vision": visible(Project, project_id).vision or ""}

    @blueprint.arguments(wire.VisionForm)
    @blueprint.response(200, Done)
    def put(self, form: dict[str, Any], project_id: str) -> Any:
        """Write down what the project is to become."""
        projects.set_vision(visible(Project, project_id), form["vision"])
        return {"status": "updated"}


@blueprint.route("/projects/<project_id>/slack")
class Slack(MethodView):
    @blueprint.response(200, wire.Slack)
    def get(self, project_id: str) -> Any:
        """Where the project is talked about."""
        return {**visible(Project, project_id).__data__, "status": "ok"}

    @blueprint.arguments(wire.SlackForm)
    @blueprint.response(200, wire.Slack)
    def put(self, form: dict[str, Any], project_id: str) -> Any:
        """Say where the project is talked about."""
        project = visible(Project, project_id)
        projects.set_slack(project, form)
        return {**project.__data__, "status": "updated"}


@blueprint.route("/projects/<project_id>/key-user")
class KeyUser(MethodView):
    @blueprint.response(200, wire.KeyUser)
    def get(self, project_id: str) -> Any:
        """Whose keys pay for the project's runs."""
        return {**visible(Project, project_id).__data__, "status": "ok"}

    @blueprint.arguments(wire.KeyUserForm)
    @blueprint.response(200, wire.KeyUser)
    def put(self, form: dict[str, Any], project_id: str) -> Any:
        """Say whose keys pay: one's own, nobody's, or for admins anybody's."""
        project = visible(Project, project_id)
        projects.set_key_user(g.principal, project, form["key_user_id"])
        return {**project.__data__, "status": "updated"}


@blueprint.route("/projects/<project_id>/repository")
class TheRepository(MethodView):
    @blueprint.arguments(wire.RepositoryForm)
    @blueprint.response(200, wire.RepositorySet)
    def put(self, form: dict[str, Any], project_id: str) -> Any:
        """Say where the code lives; it is looked at and cloned in the background."""
        project = projects.set_repository(visible(Project, project_id), form["repo_url"])
        return wire.repository_set(project, "queued")

    @blueprint.response(200, wire.RepositorySet)
    def delete(self, project_id: str) -> Any:
        """Forget where the code lives."""
        project = projects.set_repository(visible(Project, project_id), None)
        return wire.repository_set(project, "removed")


@blueprint.route("/projects/<project_id>/repository/status")
class RepositoryStatus(MethodView):
    @blueprint.response(200, wire.RepositoryStatus)
    def get(self, project_id: str) -> Any:
        """What the last look at the repository found."""
        return wire.repository_status(visible(Project, project_id))

    @blueprint.response(200, wire.RepositoryStatus)
    def post(self, project_id: str) -> Any:
        """Have the repository looked at once more."""
        project = visible(Project, project_id)
        projects.refresh_repository(project)
        return wire.repository_status(project)


@blueprint.route("/projects/<project_id>/repository/clone")
class Clone(MethodView):
    @blueprint.response(200, wire.RepositorySet)
    def post(self, project_id: str) -> Any:
        """Have the repository cloned, or brought up to date, in the background."""
        project = visible(Project, project_id)
        projects.refresh_repository(project)
        return wire.repository_set(project, "queued")
