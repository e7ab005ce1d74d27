"""Who works on a project: people and agents."""

from __future__ import annotations

from typing import Any

from flask import g
from flask.views import MethodView

from models.agents import Agent
from models.projects import Project
from tasks import crew
from web.resources import Blueprint, governed, only, page, visible
from web.schemas import crew as wire
from web.schemas.board import FILTERS, PLACED, Done, TaskView, shown
from web.security import for_agents

blueprint = Blueprint("crew", "Who works on a project")


@blueprint.route("/projects/<project_id>/members")
class Members(MethodView):
    @blueprint.response(200, wire.MemberView(many=True))
    def get(self, project_id: str) -> Any:
        """The people who work on the project, in the order they came."""
        return wire.members(visible(Project, project_id, Project.id).id)

    @blueprint.arguments(wire.MemberForm)
    @blueprint.response(200, wire.MemberView(many=True))
    def post(self, form: dict[str, Any], project_id: str) -> Any:
        """Let a person work on the project; answers everybody who does."""
        crew.add_member(g.principal, governed(project_id), form["user_id"])
        return wire.members(project_id)


@blueprint.route("/projects/<project_id>/members/<member_id>")
class Member(MethodView):
    @blueprint.response(200, Done)
    def delete(self, project_id: str, member_id: str) -> Any:
        """Take a person off the project."""
        crew.remove_member(g.principal, governed(project_id), member_id)
        return {"status": "removed"}


@blueprint.route("/agents/<agent_id>/projects/<project_id>/tasks")
class AgentTasks(MethodView):
    @for_agents
    @blueprint.arguments(wire.AgentTasksForm, location="query")
    @blueprint.response(200, TaskView(many=True))
    def get(self, form: dict[str, Any], agent_id: str, project_id: str) -> Any:
        """The tasks of a project that are the agent's or nobody's."""
        project = visible(Project, project_id, Project.id)
        found = wire.tasks_of(visible(Agent, agent_id, Agent.id).id, project.id)
        return [shown(task) for task in page(only(found, form, FILTERS), form, PLACED)]


@blueprint.route("/projects/<project_id>/agents")
class Agents(MethodView):
    @blueprint.response(200, wire.AgentView(many=True))
    def get(self, project_id: str) -> Any:
        """The agents that work on the project, by role."""
        return wire.agents(visible(Project, project_id, Project.id).id)

    @blueprint.arguments(wire.AgentForm)
    @blueprint.response(200, wire.Assigned)
    def post(self, form: dict[str, Any], project_id: str) -> Any:
        """Have an agent work on the project."""
        row = crew.assign(g.principal, visible(Project, project_id), **form)
        return {**row.__data__, "project_id": project_id, "status": "assigned"}


@blueprint.route("/projects/<project_id>/agents/<agent_id>")
class OneAgent(MethodView):
    @blueprint.arguments(wire.RoleForm)
    @blueprint.response(200, wire.RoleSet)
    def put(self, form: dict[str, Any], project_id: str, agent_id: str) -> Any:
        """Give the agent another role."""
        crew.set_role(visible(Project, project_id), agent_id, form["role"])
        return {"status": "updated", "role": form["role"]}

    @blueprint.arguments(wire.RoleForm)
    @blueprint.response(200, wire.RoleSet)
    def patch(self, form: dict[str, Any], project_id: str, agent_id: str) -> Any:
        """The same under the other method that clients use."""
        crew.set_role(visible(Project, project_id), agent_id, form["role"])
        return {"status": "updated", "role": form["role"]}

    @blueprint.response(200, Done)
    def delete(self, project_id: str, agent_id: str) -> Any:
        """Take the agent off the project."""
        crew.unassign(visible(Project, project_id), agent_id)
        return {"status": "removed"}
