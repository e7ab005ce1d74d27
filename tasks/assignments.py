"""Assigning agents to what happens on GitHub, and calling them when it does."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from models import assignments, audit, board, projects
from models.accounts import User
from models.agents import Agent
from models.assignments import Assignment, Trigger
from models.base import db, now_ms
from models.errors import Conflict, DomainError, Forbidden, Invalid
from models.principals import Principal
from models.projects import Project
from models.routines import Routine
from tasks import board as tasks
from tasks import comments, executors, pulses

HOUR_MS = 3_600_000
MOST = 60  # runs, and tasks, that GitHub may start in an hour, for one project
SECONDS = 1_800  # that an agent works on what GitHub called it for


def assign(principal: Principal, project: Project, form: Mapping[str, Any]) -> Assignment:
    """Assign an agent to an event; NotFound without the agent, Conflict when there are too many."""
    _refuse_unknown(form)
    row = Assignment(project=project.id, created_by=principal.id, **form)
    _refuse_foreign(principal, row, named=True)
    with db.atomic():
        Project.select(Project.id).where(Project.id == project.id).for_update().get()
        if Assignment.select().where(Assignment.project == project.id).count() >= assignments.MOST:
            raise Conflict(f"A project has at most {assignments.MOST} assignments")
        row.add()
        audit.record(principal, "assignment.create", row.id, project=project.id)
    return row


def reassign(principal: Principal, row: Assignment, changes: Mapping[str, Any]) -> Assignment:
    """Change an assignment; what is not named stays as it is.

    Forbidden where it wakes a routine that the caller does not see: that costs somebody else.
    """
    _refuse_unknown(changes)
    fresh = Assignment(**row.__data__ | changes)
    _refuse_foreign(principal, fresh, named="routine_id" in changes)
    with db.atomic():
        row.put(**changes, updated_at=now_ms())
        audit.record(principal, "assignment.update", row.id, changed=sorted(changes))
    return row


def unassign(principal: Principal, row: Assignment) -> None:
    """Take an assignment back; what it has called for goes on."""
    with db.atomic():
        row.delete_instance()
        audit.record(principal, "assignment.delete", row.id, project=row.project_id)


def wake(trigger: Trigger, routine_id: str, prompt: str) -> None:
    """Have a routine come up because of an event, at most once for each event and agent.

    The caller holds the event's lock.
    """
    if not trigger.claim():
        return
    project, routine = Project.get_by_id(trigger.project_id), Routine.find(routine_id)
    error = _idle(project, trigger) or _too_often(Trigger.runs_since, project, "runs")
    if error is None and (routine is None or routine.agent_id != trigger.agent_id):
        error = f"{trigger.agent_id} has no routine {routine_id}"
    elif error is None and routine and not project.worked_on_by(routine.owner_id):
        error = "Whose routine it is does not work on the project"
    if error is not None or routine is None:
        trigger.put(error=error)
        return
    context = f"Project {project.name!r} ({project.id}).\n{prompt}"
    trigger.put(firing_id=pulses.call(routine, context))


def call(trigger: Trigger, task: str, prompt: str) -> None:
    """Have an agent go to work on what an event asks for, at most once.

    `task` names what it works on, for its branch. The caller holds the event's lock.
    """
    if not trigger.claim():
        return
    project = Project.get_by_id(trigger.project_id)
    error = _idle(project, trigger) or _too_often(Trigger.runs_since, project, "runs")
    if error is not None:
        trigger.put(error=error)
        return
    order = {"agent_id": trigger.agent_id, "project_id": project.id, "task_id": task}
    form = {**order, "execution_prompt": prompt, "timeout_seconds": SECONDS}
    run = executors.spawn(project.owner_id, form, meta={"github_event": trigger.event_id})
    trigger.put(run_id=run.id)


def note(trigger: Trigger, prompt: str, about: Mapping[str, Any]) -> None:
    """Put what an event asks for on the board as a task of the agent's, at most once.

    While a task about the same thing is not over, that gets a comment instead. `about` is what
    the task keeps of the event: its `subject`, what happened (`told`), perhaps an `url`. The
    caller holds the event's lock.
    """
    if not trigger.claim():
        return
    project = Project.get_by_id(trigger.project_id)
    error = _idle(project, trigger) or _too_often(Trigger.notes_since, project, "tasks")
    if error is None:
        error = _noted(project, trigger, prompt, about)
    if error is not None:
        trigger.put(error=error)


def _noted(project: Project, trigger: Trigger, prompt: str, about: Mapping[str, Any]) -> str | None:
    """Why there is no task of it, None when there is one."""
    facts = {**about, "event": trigger.event_id}
    form = {
        "title": trigger.subject,
        "description": prompt,
        "assigned_agent": trigger.agent_id,
        "tags": ["github"],
        "metadata": {"github": facts},
    }
    try:
        with db.atomic():
            Project.locked(project.id)
            kept = board.about(project, {"subject": about["subject"]})
            if kept is None:
                tasks.add(project.id, form)
            elif kept.metadata["github"].get("event") != trigger.event_id:
                comments.add("github", kept, about["told"])
    except DomainError as error:
        return str(error)
    return None


def _idle(project: Project, trigger: Trigger) -> str | None:
    """Why nobody may begin with anything now."""
    owner = User.find(project.owner_id)
    if owner is not None and not owner.is_active:
        return "The project's owner has no open account"
    if project.state != projects.ACTIVE:
        return f"The project is {project.state}"
    if Agent.find(trigger.agent_id) is None:
        return f"There is no agent {trigger.agent_id}"
    return None


def _too_often(count: Callable[[str, int], int], project: Project, what: str) -> str | None:
    if count(project.id, now_ms() - HOUR_MS) < MOST:
        return None
    return f"GitHub has started {MOST} {what} of this project within an hour"


def _refuse_foreign(principal: Principal, row: Assignment, named: bool) -> None:
    """Only who sees a routine, which works at its owner's cost, may have it woken."""
    if row.routine_id is None:
        return
    mine = Routine.visible_to(principal).where(Routine.id == row.routine_id)
    if not mine.exists() and named:
        raise Routine.missing(row.routine_id)
    if not mine.exists():
        raise Forbidden("It wakes a routine that is not yours: name another, or none")
    if not mine.where(Routine.agent == row.agent_id).exists():
        fault = {"loc": ["body", "routine_id"], "msg": "Of another agent.", "type": "invalid"}
        raise Invalid(f"routine_id: it is not a routine of {row.agent_id}", errors=[fault])


def _refuse_unknown(form: Mapping[str, Any]) -> None:
    agent_id = form.get("agent_id")
    if agent_id is not None and Agent.find(agent_id) is None:
        raise Agent.missing(agent_id)
