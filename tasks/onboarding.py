"""Asking of onboarding: begin, say something, hand over, finish. One transaction each.

A chat's run is locked before the session that it belongs to, never after.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, TypeVar

from models import onboarding, settings
from models.agents import Agent
from models.base import NOW, db
from models.chats import ChatMessage, ChatSession
from models.errors import Conflict, Malformed
from models.onboarding import DONE, OnboardingMessage, OnboardingSession
from models.principals import Principal
from models.runs import Run
from models.templates import ProjectTemplate
from tasks import chats, facts, founding, phases

T = TypeVar("T")

TRIES = 5  # to say something to whoever has the word, while that passes on
MOST_ACTIVE = 20  # sessions of one person


def start(principal: Principal, form: Mapping[str, Any]) -> OnboardingSession:
    """Begin with the first agent of the template's chain, who speaks first."""
    template = founding.template(form.get("template_id"))
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
        facts.tell(session, "started", agentId=agent.id)
    return session


def say(session: OnboardingSession, form: Mapping[str, Any]) -> tuple[ChatMessage, ChatMessage]:
    """Say something to the agent that has the word; gives the message and the answer to come."""

    def speak(held: OnboardingSession, chat: ChatSession | None) -> tuple[ChatMessage, ChatMessage]:
        facts.refuse_ended(held)
        if chat is None:
            raise Malformed(f"The chat of {held.id} was deleted; resume the session")
        held.put(model=form.get("model") or held.model, updated_at=NOW)
        return chats.say(chat, form)

    return _in_hand(session, speak)


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
            _, held = founding.finish(principal, held, {"context": told})
            return "finalized", held
        facts.refuse_ended(held)
        if form["next_agent_id"] not in held.later:
            later = ", ".join(held.later)
            raise Conflict(f"{form['next_agent_id']} does not come later; there are {later}")
        if told:
            held.context = facts.learn(held, told)
        _pass_on(principal, held, Agent.get_by_id(form["next_agent_id"]))
    return "handed_off", held


def finish(
    principal: Principal, session: OnboardingSession, form: Mapping[str, Any]
) -> tuple[bool, OnboardingSession]:
    """Make the project, once whoever asks and however often; whether it was now."""
    with db.atomic():
        return founding.finish(principal, OnboardingSession.locked(session.id), form)


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
    for session_id, written in onboarding.forsaken():
        session = OnboardingSession(id=session_id, state=onboarding.ACTIVE)
        with suppress(Conflict), db.atomic():  # it went on meanwhile
            session.move(onboarding.ABANDONED, {"updated_at": written})
    with db.atomic():
        for session_id in onboarding.unplanned():
            founding.plan.enqueue_once(session_id, session_id)


class _PassedOn(Conflict):
    """Another agent has just taken over; try again."""


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
        founding.retire.enqueue(chat_id)
    about = {"fromAgent": former, "toAgent": agent.id, "phase": session.phase}
    facts.tell(session, "handoff", **about, newChatSessionId=session.chat_session_id)
