"""Asking of onboarding: begin, say something, hand over, finish. One transaction each.

A chat's run is locked before the session that it belongs to, never after.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, TypeVar

from models import accounts, events, onboarding, projects, repositories, settings
from models.agents import Agent
from models.base import NOW, database_ms, db, dumps
from models.chats import ChatMessage, ChatSession
from models.errors import Conflict, DomainError, Invalid, Malformed, NotFound, TooLarge
from models.onboarding import DONE, OnboardingMessage, OnboardingSession
from models.principals import Principal
from models.projects import Project
from models.repositories import Repository
from models.runs import Run
from models.templates import ProjectTemplate
from tasks import chats, executions, phases, task
from tasks import projects as project_commands

T = TypeVar("T")

AGAIN_MS = 1_000  # how soon is looked again whether a repository has been cloned
MOST_TOLD = 64 << 10  # characters of a page that an event carries; a longer one is to be fetched
TRIES = 5  # to say something to whoever has the word, while that passes on
MOST_ACTIVE = 20  # sessions of one person
UNTITLED = "Untitled Project"


@task(queue="short")
def retire(chat_id: str) -> None:
    """End the chat of an agent that has handed over, once it has said its last words."""


@task(queue="short")
def plan(session_id: str) -> None:
    """Have a new project planned, once its repository has been looked at."""


def start(principal: Principal, form: Mapping[str, Any]) -> OnboardingSession:
    """Begin with the first agent of the template's chain, who speaks first."""
    template = _template(form.get("template_id"))
    chain = _chain(template)
    agent = Agent.get_by_id(chain[0])
    session = OnboardingSession(
        id=OnboardingSession.id.default(),
        owner_id=principal.id,
        template_id=template.id if template else None,
        chain=chain,
        current_agent_id=agent.id,
        phase=onboarding.phase_of(agent.id),
        model=form.get("model") or agent.model or settings.default_model(),
    )
    with db.atomic():
        _refuse_crowd(principal)
        session.add()
        _seat(principal, session, agent, phases.BEGINNING, f"{agent.name} begins.")
        tell(session, "started", agentId=agent.id)
    return session


def say(session: OnboardingSession, form: Mapping[str, Any]) -> tuple[ChatMessage, ChatMessage]:
    """Say something to the agent that has the word; gives the message and the answer to come."""

    def speak(held: OnboardingSession, chat: ChatSession | None) -> tuple[ChatMessage, ChatMessage]:
        _refuse_ended(held)
        if chat is None:
            raise Malformed(f"The chat of {held.id} was deleted; resume the session")
        held.put(model=form.get("model") or held.model, updated_at=NOW)
        return chats.say(chat, form)

    return _in_hand(session, speak)


def learn(session: OnboardingSession, more: Mapping[str, Any]) -> dict[str, Any]:
    """Add to what is known; TooLarge when that is more than there is room for."""
    with db.atomic():
        known = onboarding.merge(session.id, more)
        if known is None:
            _refuse_ended(OnboardingSession.locked(session.id))
            raise TooLarge(f"What is known may have {onboarding.MOST_CONTEXT >> 10} KiB")
        tell(session, "context_updated", context=known)
    return known


def show(
    session: OnboardingSession, agent_id: str, html: str, caption: str | None
) -> dict[str, Any]:
    """Put up a landing page in place of the one there was."""
    if len(html.encode()) > onboarding.MOST_HTML:
        fault = {"loc": ["body", "html"], "msg": "Longer than 512 KiB.", "type": "invalid"}
        raise Invalid("html: Longer than 512 KiB.", errors=[fault])
    with db.atomic():
        page = onboarding.show(session.id, agent_id, html, caption)
        if page is None:
            _refuse_ended(OnboardingSession.locked(session.id))
            raise Conflict(f"Onboarding session {session.id} is changing; try again")
        small = len(html) <= MOST_TOLD
        tell(session, "landing_page_updated", landingPageState=page if small else _unread(page))
    return page


def hand_over(
    principal: Principal, session: OnboardingSession, form: Mapping[str, Any]
) -> tuple[str, OnboardingSession]:
    """Give the word to the next agent, or finish; gives what came of it and the session.

    What came of it: `handed_off`, `already_handed_off` when it was not (any more) the one that
    hands over, `finalized`. Conflict when the next one does not come later in the chain.
    """
    with db.atomic():
        held = OnboardingSession.locked(session.id)
        before = form.get("from_agent_id")
        if before and before != held.current_agent_id:
            return "already_handed_off", held
        told = _told(form)
        if form["next_agent_id"] == DONE:
            _, held = _finished(principal, held, {"context": told})
            return "finalized", held
        _refuse_ended(held)
        if form["next_agent_id"] not in held.later:
            later = ", ".join(held.later)
            raise Conflict(f"{form['next_agent_id']} does not come later; there are {later}")
        if told:
            held.context = learn(held, told)
        _pass_on(principal, held, Agent.get_by_id(form["next_agent_id"]))
    return "handed_off", held


def finish(
    principal: Principal, session: OnboardingSession, form: Mapping[str, Any]
) -> tuple[bool, OnboardingSession]:
    """Make the project, once whoever asks and however often; whether it was now."""
    with db.atomic():
        return _finished(principal, OnboardingSession.locked(session.id), form)


def stop(session: OnboardingSession) -> OnboardingSession:
    """Call off the answer under way."""
    chat = ChatSession.find(session.chat_session_id or "")
    if chat is not None:
        chats.stop(chat)
    return session


def resume(principal: Principal, session: OnboardingSession) -> OnboardingSession:
    """Go on with a session where it was left; Malformed when it has become a project."""

    def go_on(held: OnboardingSession, chat: ChatSession | None) -> OnboardingSession:
        if held.state == onboarding.COMPLETED:
            raise Malformed(f"Onboarding session {held.id} has become {held.project_id}")
        if held.state == onboarding.ACTIVE and chat is not None and chat.active:
            return held
        held.move(onboarding.ACTIVE)
        if chat is not None:
            chats.restart(chat)
            return held
        agent = Agent.get_by_id(held.current_agent_id)
        _seat(principal, held, agent, phases.AGAIN, f"{agent.name} goes on.")
        return held

    return _in_hand(session, go_on)


def abandon(session: OnboardingSession) -> OnboardingSession:
    """Give a session up, until it is resumed; Conflict when it has become a project."""

    def leave(held: OnboardingSession, chat: ChatSession | None) -> OnboardingSession:
        held.move(onboarding.ABANDONED)
        if chat is not None:
            chats.end(chat)
        return held

    return _in_hand(session, leave)


def delete(session: OnboardingSession) -> None:
    """Delete a session with all that was said in it; a project that it became stays."""
    for chat_id in onboarding.chats_of(session.id):
        chat = ChatSession.find(chat_id)
        if chat is not None:
            chats.purge(chat)
    with db.atomic():
        OnboardingSession.delete().where(OnboardingSession.id == session.id).execute()


def sweep() -> None:
    """Give up sessions whose chat has ended; ask again for plans that are long due."""
    for session_id, chat_id in onboarding.forsaken():
        session = OnboardingSession(id=session_id, state=onboarding.ACTIVE)
        with db.atomic():
            _give_up(session, chat_id)
    with db.atomic():
        for session_id in onboarding.unplanned():
            plan.enqueue_once(session_id, session_id)


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


def tell(session: OnboardingSession, what: str, **more: Any) -> None:
    """Tell the streams of whoever it belongs to."""
    about = {"sessionId": session.id, **more}
    events.announce(session.owner_id, (f"onboarding_{what}", about))


class _PassedOn(Conflict):
    """Another agent has just taken over; try again."""


def _unread(page: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in page.items() if name != "html"}


def _template(key: str | None) -> ProjectTemplate | None:
    if not key:
        return None
    found = ProjectTemplate.named(key)
    if found is None:
        raise NotFound(f"Template {key} not found")
    return found


def _chain(template: ProjectTemplate | None) -> list[str]:
    """The agents that talk, in their order, as far as there are such."""
    wanted = (template.onboarding_agent_chain if template else None) or onboarding.CHAIN
    known = {row.id for row in Agent.select(Agent.id).where(Agent.id.in_(list(wanted)))}
    chain = [agent_id for agent_id in dict.fromkeys(wanted) if agent_id in known]
    if not chain:
        raise Conflict("None of the template's agents for onboarding is there")
    return chain


def _refuse_crowd(principal: Principal) -> None:
    mine = OnboardingSession.visible_to(principal)
    if mine.where(OnboardingSession.state == onboarding.ACTIVE).count() >= MOST_ACTIVE:
        raise Conflict(f"You have {MOST_ACTIVE} onboarding sessions open; abandon one of them")


def _refuse_ended(session: OnboardingSession) -> None:
    if session.state != onboarding.ACTIVE:
        raise Malformed(f"Onboarding session {session.id} is not active (it is {session.state})")


def _in_hand(
    session: OnboardingSession, act: Callable[[OnboardingSession, ChatSession | None], T]
) -> T:
    """What `act` gives, with the session and its chat locked; anew if that was passed on before."""
    for _ in range(TRIES):
        with suppress(_PassedOn), db.atomic():
            return act(*_locked(session))
        session = OnboardingSession.find(session.id) or session
    raise _PassedOn


def _locked(session: OnboardingSession) -> tuple[OnboardingSession, ChatSession | None]:
    Run.locked(session.chat_session_id or "")
    held = OnboardingSession.locked(session.id)
    if held.chat_session_id != session.chat_session_id:
        raise _PassedOn
    return held, ChatSession.find(held.chat_session_id or "")


def _seat(
    principal: Principal,
    session: OnboardingSession,
    agent: Agent,
    opening: str,
    note: str,
    before: str | None = None,
) -> None:
    """Begin the chat of an agent, who is told what is known and speaks first."""
    form = {
        "model": session.model,
        "system_prompt_supplement": phases.supplement(session, agent),
    }
    own: dict[str, Any] = {"source": onboarding.SOURCE, "tools": list(onboarding.TOOLS)}
    chat = chats.start(principal, agent, form, prefix=onboarding.CHAT_PREFIX, **own)
    OnboardingMessage(
        id=OnboardingMessage.id.default(),
        session=session.id,
        content=note,
        agent_id=before or agent.id,
        handoff_to_agent=agent.id if before else None,
        chat_session_id=chat.id,
    ).add()
    place = {"current_agent_id": agent.id, "phase": onboarding.phase_of(agent.id)}
    session.put(**place, chat_session_id=chat.id, updated_at=NOW)
    chats.say(chat, {"message": opening})


def _told(form: Mapping[str, Any]) -> dict[str, Any]:
    """What an agent that hands over has found out."""
    told = dict(form.get("context_update") or {})
    if form.get("summary"):
        told["summary"] = form["summary"]
    if form.get("conversation_highlights"):
        told["conversation_highlights"] = list(form["conversation_highlights"])
    return told


def _pass_on(principal: Principal, session: OnboardingSession, agent: Agent) -> None:
    former, chat_id = session.current_agent_id, session.chat_session_id
    known = ", ".join(sorted(session.context))
    note = f"{former} hands over to {agent.id}. [context: {known}]"
    _seat(principal, session, agent, phases.taking_over(former), note, before=former)
    if chat_id is not None:
        retire.enqueue(chat_id)
    about = {"fromAgent": former, "toAgent": agent.id, "phase": session.phase}
    tell(session, "handoff", **about, newChatSessionId=session.chat_session_id)


def _finished(
    principal: Principal, session: OnboardingSession, form: Mapping[str, Any]
) -> tuple[bool, OnboardingSession]:
    """The project is made while the session is locked: whoever comes next finds it there."""
    if session.state == onboarding.COMPLETED:
        return False, session
    _refuse_ended(session)
    if form.get("context"):
        session.context = learn(session, form["context"])
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
    tell(session, "completed", **about, planningRunId=session.planning_run_id)
    return True, session


def _project(principal: Principal, session: OnboardingSession, form: Mapping[str, Any]) -> Project:
    """The project that was talked about, with the template's board and the agents that asked."""
    known = session.context
    repository, warning = _repository(form.get("repository") or known.get("repo"))
    if warning:
        session.context = known = {**known, "repository_warning": warning}
    name = str(form.get("project_name") or known.get("project_name") or "").strip() or UNTITLED
    described = form.get("description") or known.get("summary") or known.get("goal") or ""
    template = _template(form.get("template_id") or session.template_id)
    asked = {
        "name": name[:256],
        "description": str(described),
        "repository": repository,
        "template_id": template.id if template else None,
    }
    project = project_commands.create(principal, asked)
    vision = phases.vision(known, repository)
    project.put(onboarding_context=dumps(known), vision=vision or None)
    for agent_id in session.chain:
        role = projects.LEAD if agent_id == session.chain[-1] else projects.MEMBER
        project_commands.assign(principal, project, agent_id, role)
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


def _give_up(session: OnboardingSession, chat_id: str | None) -> None:
    try:
        session.move(onboarding.ABANDONED, {"chat_session_id": chat_id} if chat_id else None)
    except Conflict:
        return  # it went on meanwhile
