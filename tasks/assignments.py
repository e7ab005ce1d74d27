"""Assigning agents to what happens on GitHub, and calling them when it does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from models import assignments, audit, projects
from models.accounts import User
from models.agents import Agent
from models.assignments import Assignment, Trigger
from models.base import db, now_ms
from models.errors import Conflict
from models.principals import Principal
from models.projects import Project
from tasks import executors

HOUR_MS = 3_600_000
MOST_RUNS = 60  # that GitHub may start in an hour, for one project
SECONDS = 1_800  # that an agent works on what GitHub called it for


def assign(principal: Principal, project: Project, form: Mapping[str, Any]) -> Assignment:
    """Assign an agent to an event; NotFound without the agent, Conflict when there are too many."""
    _refuse_unknown(form)
    row = Assignment(project=project.id, created_by=principal.id, **form)
    with db.atomic():
        Project.select(Project.id).where(Project.id == project.id).for_update().get()
        if Assignment.select().where(Assignment.project == project.id).count() >= assignments.MOST:
            raise Conflict(f"A project has at most {assignments.MOST} assignments")
        row.add()
        audit.record(principal, "assignment.create", row.id, project=project.id)
    return row


def reassign(principal: Principal, row: Assignment, changes: Mapping[str, Any]) -> Assignment:
    """Change an assignment; what is not named stays as it is."""
    _refuse_unknown(changes)
    with db.atomic():
        row.put(**changes, updated_at=now_ms())
        audit.record(principal, "assignment.update", row.id, changed=sorted(changes))
    return row


def unassign(principal: Principal, row: Assignment) -> None:
    """Take an assignment back; what it has called for goes on."""
    with db.atomic():
        row.delete_instance()
        audit.record(principal, "assignment.delete", row.id, project=row.project_id)


def call(trigger: Trigger, task: str, prompt: str | None) -> None:
    """Call an agent because of an event, at most once; with a prompt it goes to work at once.

    `task` names what it works on, for its branch. The caller holds the event's lock.
    """
    if not trigger.claim() or prompt is None:
        return
    project = Project.get_by_id(trigger.project_id)
    error = _hindrance(project, trigger)
    if error is not None:
        trigger.put(error=error)
        return
    order = {"agent_id": trigger.agent_id, "project_id": project.id, "task_id": task}
    form = {**order, "execution_prompt": prompt, "timeout_seconds": SECONDS}
    run = executors.spawn(project.owner_id, form, meta={"github_event": trigger.event_id})
    trigger.put(run_id=run.id)


def _hindrance(project: Project, trigger: Trigger) -> str | None:
    """Why no run may be started now."""
    owner = User.find(project.owner_id)
    if owner is not None and not owner.is_active:
        return "The project's owner has no open account"
    if project.state != projects.ACTIVE:
        return f"The project is {project.state}"
    if Agent.find(trigger.agent_id) is None:
        return f"There is no agent {trigger.agent_id}"
    if Trigger.count_since(project.id, now_ms() - HOUR_MS) >= MOST_RUNS:
        return f"GitHub has started {MOST_RUNS} runs of this project within an hour"
    return None


def _refuse_unknown(form: Mapping[str, Any]) -> None:
    agent_id = form.get("agent_id")
    if agent_id is not None and Agent.find(agent_id) is None:
        raise Agent.missing(agent_id)
