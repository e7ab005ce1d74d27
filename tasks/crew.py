"""Who works on a project: people and agents."""

from __future__ import annotations

from models import audit, projects
from models.accounts import User
from models.agents import Agent
from models.base import db, now_ms
from models.errors import Conflict, Malformed, NotFound
from models.principals import Principal
from models.projects import Project, ProjectAgent, ProjectMember
from tasks.projects import tell


def add_member(
    principal: Principal, project: Project, user_id: str, role: str = projects.MEMBER
) -> ProjectMember:
    """Let a person work on a project; one who does already keeps or changes the role."""
    if not User.select().where(User.id == user_id).exists():
        raise User.missing(user_id)
    with db.atomic():
        Project.locked(project.id)
        mine = ProjectMember.project == project.id
        if ProjectMember.select().where(mine).count() >= projects.MOST_MEMBERS:
            raise Conflict(f"A project has at most {projects.MOST_MEMBERS} members")
        row = {"project": project.id, "user": user_id, "role": role, "added_by": principal.id}
        adding = ProjectMember.insert({**row, "added_at": now_ms()})
        keys = [ProjectMember.project, ProjectMember.user]
        adding.on_conflict(conflict_target=keys, preserve=[ProjectMember.role]).execute()
        tell(project, "project_member_added", userId=user_id, role=role)
        audit.record(principal, "project.add_member", project.id, user=user_id, role=role)
    found: ProjectMember = ProjectMember.get(mine & (ProjectMember.user == user_id))
    return found


def remove_member(principal: Principal, project: Project, user_id: str) -> None:
    """Take a person off a project; its owner stays. NotFound when they did not work on it."""
    if user_id == project.owner_id:
        raise Conflict("The owner stays a member")
    with db.atomic():
        found = (ProjectMember.project == project.id) & (ProjectMember.user == user_id)
        if not ProjectMember.delete().where(found).execute():
            raise NotFound(f"Member {user_id} not found")
        if project.key_user_id == user_id:  # who has gone pays no longer
            project.put(key_user_id=None)
        tell(project, "project_member_removed", userId=user_id)
        audit.record(principal, "project.remove_member", project.id, user=user_id)


def assign(principal: Principal, project: Project, agent_id: str, role: str) -> ProjectAgent:
    """Have an agent work on a project; Malformed when it does. There is one lead at most."""
    if not Agent.select().where(Agent.id == agent_id).exists():
        raise Agent.missing(agent_id)
    with db.atomic():
        Project.locked(project.id)
        if _agent(project, agent_id) is not None:
            raise Malformed(f"{agent_id} is assigned already")
        _demote_lead(project, role)
        row = ProjectAgent(
            project=project.id, agent_id=agent_id, role=role, assigned_by=principal.id
        )
        row.add()
        tell(project, "agent_assigned", agentId=agent_id, role=role)
    return row


def set_role(project: Project, agent_id: str, role: str) -> None:
    """Give an agent another role on a project; the lead until then becomes a member."""
    with db.atomic():
        Project.locked(project.id)
        if _agent(project, agent_id) is None:
            raise NotFound(f"Agent {agent_id} not found")
        _demote_lead(project, role)
        mine = (ProjectAgent.project == project.id) & (ProjectAgent.agent_id == agent_id)
        ProjectAgent.update(role=role).where(mine).execute()
        tell(project, "agent_role_changed", agentId=agent_id, role=role)


def unassign(project: Project, agent_id: str) -> None:
    """Take an agent off a project; NotFound when it does not work on it."""
    with db.atomic():
        mine = (ProjectAgent.project == project.id) & (ProjectAgent.agent_id == agent_id)
        if not ProjectAgent.delete().where(mine).execute():
            raise NotFound(f"Agent {agent_id} not found")
        tell(project, "agent_removed", agentId=agent_id)


def _agent(project: Project, agent_id: str) -> ProjectAgent | None:
    mine = (ProjectAgent.project == project.id) & (ProjectAgent.agent_id == agent_id)
    found: ProjectAgent | None = ProjectAgent.get_or_none(mine)
    return found


def _demote_lead(project: Project, role: str) -> None:
    if role == projects.LEAD:
        leads = (ProjectAgent.project == project.id) & (ProjectAgent.role == projects.LEAD)
        ProjectAgent.update(role=projects.MEMBER).where(leads).execute()
