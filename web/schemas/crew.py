"""The agents and the people of a project, on the wire."""

from __future__ import annotations

from typing import Any

from flask import g
from marshmallow import fields, pre_load, validate

from models import projects
from models.accounts import User
from models.board import Task
from models.errors import Forbidden
from models.projects import AGENT_ROLES, ARCHIVED, Project, ProjectAgent, ProjectMember
from web.bodies import Form, Text
from web.resources import PageForm
from web.schemas.base import Free, derived, made
from web.schemas.board_forms import ID

ROLES = validate.OneOf(AGENT_ROLES)


AgentView = made(
    "ProjectAgentView",
    {
        **derived(ProjectAgent, "agent_id", "role", "assigned_by", "assigned_at"),
        "project_id": fields.String(),
        "routine_mappings": fields.List(Free(), metadata={"example": []}),
    },
)


Assigned = made(
    "AgentAssigned",
    {
        "status": fields.String(metadata={"example": "assigned"}),
        "project_id": fields.String(),
        **derived(ProjectAgent, "agent_id", "role", "assigned_at"),
    },
)


RoleSet = made(
    "AgentRoleSet",
    {
        "status": fields.String(metadata={"example": "updated"}),
        "role": fields.String(metadata={"example": "lead"}),
    },
)


MemberView = made(
    "ProjectMemberView",
    {
        **derived(ProjectMember, "role", "added_by", "added_at"),
        "user_id": fields.String(),
        "email": fields.String(),
        "display_name": fields.String(allow_none=True),
    },
)


class MemberForm(Form):
    """Who is to work on the project."""

    user_id = Text(data_key="userId", required=True, validate=ID)

    @pre_load
    def other_name(self, data: Any, **_: Any) -> Any:
        if isinstance(data, dict) and "user_id" in data:
            return {"userId": data["user_id"], **data}
        return data


class AgentForm(Form):
    """Which agent is to work on the project, and as what."""

    agent_id = Text(data_key="agentId", required=True, validate=ID)
    role = fields.String(load_default=projects.MEMBER, validate=ROLES)


class RoleForm(Form):
    """As what an agent works on the project."""

    role = Text(required=True, validate=ROLES)


def agents(project_id: str) -> list[dict[str, Any]]:
    """The agents of a project, by role, then by when they came."""
    mine = ProjectAgent.select().where(ProjectAgent.project == project_id)
    order = (ProjectAgent.role, ProjectAgent.assigned_at, ProjectAgent.agent_id)
    return [
        {**each.__data__, "project_id": project_id, "routine_mappings": []}
        for each in mine.order_by(*order)
    ]


def members(project_id: str) -> list[dict[str, Any]]:
    """The people of a project, in the order they came."""
    mine = ProjectMember.select(ProjectMember, User.id, User.email, User.display_name).join(User)
    order = (ProjectMember.added_at, User.id)
    return [
        {
            **each.__data__,
            "user_id": each.user_id,
            "email": each.user.email,
            "display_name": each.user.display_name,
        }
        for each in mine.where(ProjectMember.project == project_id).order_by(*order)
    ]


class AgentTasksForm(PageForm):
    """Which of the tasks are wanted."""

    status = fields.String()


def projects_of(agent_id: str) -> list[dict[str, Any]]:
    """The projects an agent works on that the caller may see, without archived ones."""
    seen = Project.visible_to(g.principal).where(Project.state != ARCHIVED)
    rows = seen.select(Project, ProjectAgent).join(ProjectAgent)
    mine = rows.where(ProjectAgent.agent_id == agent_id).order_by(Project.updated_at.desc())
    return [_told(project, project.projectagent) for project in mine.limit(500)]


def tasks_of(agent_id: str, project_id: str) -> Any:
    """The tasks of a project that are an agent's or nobody's; Forbidden for one from outside."""
    crew = (ProjectAgent.project == project_id) & (ProjectAgent.agent_id == agent_id)
    if not ProjectAgent.select().where(crew).exists():
        raise Forbidden(f"{agent_id} does not work on this project")
    free = Task.assigned_agent.is_null() | (Task.assigned_agent == agent_id)
    return Task.select().where((Task.project == project_id) & free)


def _told(project: Project, crew: ProjectAgent) -> dict[str, Any]:
    about = {"name": project.name, "status": project.state, "description": project.description}
    return {
        "project_id": project.id,
        **{name: getattr(crew, name) for name in ("agent_id", "role")},
        **{name: getattr(crew, name) for name in ("assigned_at", "assigned_by")},
        **{f"project_{name}": value for name, value in about.items()},
    }
