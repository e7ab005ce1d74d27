"""What comes of an onboarding: a project with its board, vision and agents, then its plan."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from models import accounts, onboarding, projects, repositories
from models.base import NOW, database_ms, db, dumps
from models.errors import DomainError, Invalid, NotFound
from models.onboarding import DONE, OnboardingSession
from models.principals import Principal
from models.projects import Project
from models.repositories import Repository
from models.templates import ProjectTemplate
from tasks import crew, executions, facts, phases, task
from tasks import projects as project_commands

AGAIN_MS = 1_000  # how soon is looked again whether a repository has been cloned
UNTITLED = "Untitled Project"


@task(queue="short")
def retire(chat_id: str) -> None:
    """End the chat of an agent that has handed over, once it has said its last words."""


@task(queue="short")
def plan(session_id: str) -> None:
    """Have a new project planned, once its repository has been looked at."""


def finish(
    principal: Principal, session: OnboardingSession, form: Mapping[str, Any]
) -> tuple[bool, OnboardingSession]:
    """Make the project of a session that is locked; whoever comes next finds it there."""
    if session.state == onboarding.COMPLETED:
        return False, session
    facts.refuse_ended(session)
    if form.get("context"):
        session.context = facts.learn(session, form["context"])
    project = _project(principal, session, form)
    chat_id = session.chat_session_id
    done = {"project_id": project.id, "phase": DONE, "context": session.context}
    session.move(onboarding.COMPLETED, completed_at=NOW, **done)
    if chat_id is not None:
        retire.enqueue(chat_id)
    if _being_cloned(project.id):
        plan.enqueue(session.id)
    else:
        _plan(session)
    about = {"projectId": project.id, "projectName": project.name}
    facts.tell(session, "completed", **about, planningRunId=session.planning_run_id)
    return True, session


def planned(session_id: str) -> None:
    """Begin with the plan of a project, once; look again later while its repository is cloned."""
    with db.atomic():
        session = OnboardingSession.locked(session_id)
        if session.planning_run_id or session.planning_error or session.project_id is None:
            return
        if _being_cloned(session.project_id):
            plan.enqueue_at(database_ms() + AGAIN_MS, session_id)
            return
        _plan(session)


def template(key: str | None) -> ProjectTemplate | None:
    """The template that is named, None for none; NotFound when there is no such."""
    if not key:
        return None
    found = ProjectTemplate.named(key)
    if found is None:
        raise NotFound(f"Template {key} not found")
    return found


def _project(principal: Principal, session: OnboardingSession, form: Mapping[str, Any]) -> Project:
    """The project that was talked about, with the template's board and the agents that asked."""
    known = session.context
    repository, warning = _repository(form.get("repository") or known.get("repo"))
    if warning:
        session.context = known = {**known, "repository_warning": warning}
    name = str(form.get("project_name") or known.get("project_name") or "").strip() or UNTITLED
    described = form.get("description") or known.get("summary") or known.get("goal") or ""
    board = template(form.get("template_id") or session.template_id)
    asked = {
        "name": name[:256],
        "description": str(described),
        "repository": repository,
        "template_id": board.id if board else None,
    }
    project = project_commands.create(principal, asked)
    vision = phases.vision(known, repository)
    project.put(onboarding_context=dumps(known), vision=vision or None)
    for agent_id in session.chain:
        role = projects.LEAD if agent_id == session.chain[-1] else projects.MEMBER
        crew.assign(principal, project, agent_id, role)
    return project


def _repository(told: Any) -> tuple[str | None, str | None]:
    """Where the code lives, or why what was said of it leads nowhere."""
    if not isinstance(told, str):
        return None, None
    try:
        return repositories.normalised(told), None
    except Invalid:
        return None, f"{told[:200]!r} is no address of a repository; set one on the project"


def _being_cloned(project_id: str) -> bool:
    repository = Repository.of(project_id)
    return repository is not None and repository.state == repositories.QUEUED


def _plan(session: OnboardingSession) -> None:
    """Begin with the plan; what forbids it is kept instead, for a person to read."""
    try:
        with db.atomic():
            principal = accounts.caller(session.owner_id)
            key = session.project_id or ""
            project = Project.find(key)
            if project is None:
                raise Project.missing(key)
            known = session.context.get("planning_context") or dumps(session.context)
            run = executions.plan(principal, project, executions.PLANNING, str(known))
    except DomainError as error:
        session.put(planning_error=str(error), updated_at=NOW)
        return
    session.put(planning_run_id=run.id, updated_at=NOW)
