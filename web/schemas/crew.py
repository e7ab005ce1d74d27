"""Agents and the projects they work on, on the wire."""

from __future__ import annotations

from typing import Any

from flask import g
from marshmallow import fields

from models.board import Task
from models.errors import Forbidden
from models.projects import ARCHIVED, Project, ProjectAgent
from web.resources import PageForm


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
