"""Asking of chats: start, say something, stop, end, restart, purge. One transaction each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from models import chats, events, idempotency, pipelines, runs, settings
from models.agents import Agent
from models.base import NOW, database_ms, db
from models.chats import ChatMessage, ChatSession
from models.definitions import AgentSpec, Definition, StepSpec
from models.errors import Conflict, Malformed, TooMany
from models.principals import Principal
from models.projects import Project
from models.runs import Run
from tasks import attachments, turns
from tasks.runs import advance, discard, locked
from tasks.steps import cancel_active

MOST_ACTIVE = 200  # sessions that one person has open
MOST_WAITING = 20  # messages of a session that wait for an answer
MOST_MESSAGES = 10_000  # of a session
AGAIN_SECONDS = 5
NAMED = ("model", "title", "project_id", "system_prompt_supplement")  # what a form may say
STOPPED, ENDED, IDLE = "user_requested", "ended", "idle_timeout"


def start(
    principal: Principal,
    agent: Agent,
    form: Mapping[str, Any],
    key: str | None = None,
    prefix: str = chats.CHAT,
    **own: Any,
) -> ChatSession:
    """Make a session with an agent; NotFound for a project that the caller does not see.

    With an idempotency key the same request gives the same session. `own` are columns that no
    form sets: `source`, `system_prompt_override`, `tools`; `prefix` begins the session's id.
    """
    _refuse_foreign(principal, form.get("project_id"))
    chat = _drafted(principal, agent, form, prefix, own)
    with db.atomic():
        if key is not None:
            body = {**form, "agent_id": agent.id, "chat": prefix}
            bound = idempotency.claim(principal.id, key, body, chat.id)
            if bound != chat.id:
                return _known(bound)
        _refuse_crowd(principal)
        run = _run_of(principal, chat, agent, form)
        run.add()
        chat.add()
        run.record(("run_created", {"pipelineId": run.pipeline_id, "taskDescription": run.task}))
        _tell(chat, "status_changed", oldStatus=None, newStatus=chat.state)
        advance.enqueue(run.id, run.attempt)
    return chat


def say(
    session: ChatSession, form: Mapping[str, Any], key: str | None = None
) -> tuple[ChatMessage, ChatMessage]:
    """Say something in a session that is not over; gives the message and the answer to come.

    `form` has `message` and may have `model`, which the session keeps, and `attachments`. TooMany
    when the agent has not kept up with what was said before.
    """
    with db.atomic():
        run = locked(session.id)
        chat = ChatSession.of(run)
        said = _message(chat, chats.USER, form, content=form["message"], state=chats.COMPLETED)
        said.completed_at = said.created_at
        attachments.bind(chat, said.attachments)
        if key is not None:
            bound = idempotency.claim(chat.user_id, key, {**form, "chat": chat.id}, said.id)
            if bound != said.id:
                return _said_before(bound)
        _refuse_more(chat)
        model = form.get("model") or chat.model
        answer = _message(chat, chats.ASSISTANT, {}, number=said.number + 1, model=model)
        said.add()
        answer.add()
        told = {"messageId": said.id, "assistantMessageId": answer.id, "content": said.content}
        run.record(("message_queued", {**told, "attachments": said.attachments}))
        turns.rest(run, model=model, message_count=answer.number)
        if run.state == runs.RUNNING and turns.under_way(run) is None:
            turns.follow(run)
    return said, answer


def stop(session: ChatSession, reason: str = STOPPED) -> ChatSession:
    """Call off the answer under way, if there is one; what it has said so far is kept."""
    with db.atomic():
        run = locked(session.id)
        for step in cancel_active(run, reason):
            turns.settled(run, step, chats.ABORTED, reason)
        return ChatSession.of(run)


def change(session: ChatSession, changes: Mapping[str, Any]) -> ChatSession:
    """Let another `model` answer what is said from now on, give a `title`, or end it (`status`)."""
    with db.atomic():
        run = locked(session.id)
        if changes.get("status"):
            _ended(run, ENDED)
        chat = ChatSession.of(run)
        told = {name: changes[name] for name in ("model", "title") if name in changes}
        chat.put(**told, updated_at=NOW)
    return chat


def end(session: ChatSession, reason: str = ENDED) -> ChatSession:
    """End a session with all that waits in it; one that is over stays as it is."""
    with db.atomic():
        run = locked(session.id)
        return _ended(run, reason)


def end_if_there(principal: Principal, session_id: str) -> None:
    """End a session if there is one that the caller sees."""
    chat = ChatSession.visible_to(principal).where(ChatSession.id == session_id).first()
    if chat is not None:
        end(chat)


def restart(session: ChatSession) -> ChatSession:
    """Go on with a session that was over, with all that was said in it; others stay as they are."""
    with db.atomic():
        run = locked(session.id)
        chat = ChatSession.of(run)
        if chat.active:
            return chat
        anew: dict[str, Any] = {"error": None, "started_at": None, "completed_at": None}
        run.move(runs.PENDING, attempt=run.attempt + 1, **anew, pause_reason=None)
        turns.move(chat, chats.STARTING, **anew, idle_until=turns.idle_from_now())
        run.record(("run_created", {"pipelineId": run.pipeline_id, "taskDescription": run.task}))
        advance.enqueue(run.id, run.attempt)
    return chat


def purge(session: ChatSession) -> None:
    """Delete a session and all that was said in it, ended first if it is not over."""
    with db.atomic():
        run = locked(session.id)
        chat = _ended(run, ENDED)
        discard([run.id])
        _tell(chat, "deleted")


def end_idle() -> int:
    """End the sessions in which nobody has said anything for too long; gives how many."""
    found = chats.idle()
    for session_id in found:
        with db.atomic():
            run = Run.locked(session_id)
            if run is not None and session_id in chats.idle():
                _ended(run, IDLE)
    return len(found)


def definition(agent: Agent, seconds: int, thinking_level: str | None) -> Definition:
    """The one step of a chat, pinned like any pipeline: a turn, done anew for each message."""
    turn = StepSpec(
        id=turns.TURN,
        agent=agent.id,
        input="",
        description="Answer in a chat",
        max_retries=0,
        timeout=seconds,
        thinking_level=thinking_level,
    )
    return Definition(
        id=chats.CHAT,
        name="Chat",
        version="1.0.0",
        description="One agent, one conversation",
        agents=(AgentSpec(agent.id, agent.name),),
        steps=(turn,),
    )


def _drafted(
    principal: Principal,
    agent: Agent,
    form: Mapping[str, Any],
    prefix: str,
    own: Mapping[str, Any],
) -> ChatSession:
    now, terms = database_ms(), settings.told()
    told = {name: form.get(name) for name in NAMED}
    told["model"] = told["model"] or agent.model or settings.default_model()
    return ChatSession(
        id=chats.drawn(prefix, agent.id, now),
        user_id=principal.id,
        agent_id=agent.id,
        idle_until=now + int(terms["chatIdleTimeoutMin"]) * 60_000,
        **{**told, **own},
    )


def _run_of(principal: Principal, chat: ChatSession, agent: Agent, form: Mapping[str, Any]) -> Run:
    """The run that the session is; no project stands on it, whose people would see the chat."""
    seconds = int(settings.told()["chatHardTimeoutSec"])
    return Run(
        id=chat.id,
        kind=runs.CHAT,
        pipeline_id=chats.CHAT,
        version=pipelines.pin(definition(agent, seconds, form.get("thinking_level"))),
        task=f"Chat with {agent.name}",
        owner_id=principal.id,
    )


def _refuse_foreign(principal: Principal, project_id: str | None) -> None:
    if project_id is None:
        return
    if not Project.visible_to(principal).where(Project.id == project_id).exists():
        raise Project.missing(project_id)


def _refuse_crowd(principal: Principal) -> None:
    if chats.active_of(principal.id) >= MOST_ACTIVE:
        raise Conflict(f"You have {MOST_ACTIVE} chats open; end one of them first")


def _refuse_more(chat: ChatSession) -> None:
    """Raise why nothing more may be said in a session just now."""
    if not chat.active:
        raise Malformed(f"Chat session {chat.id} is over (it is {chat.state}); restart it first")
    if chat.message_count >= MOST_MESSAGES:
        raise Conflict(f"A chat session has at most {MOST_MESSAGES} messages; start another one")
    waiting = len(ChatMessage.open_in(chat.id))
    if waiting >= MOST_WAITING:
        told = f"{waiting} messages wait for an answer already; try again when one has come"
        raise TooMany(told, after=AGAIN_SECONDS)


def _message(chat: ChatSession, role: str, form: Mapping[str, Any], **columns: Any) -> ChatMessage:
    """A message that is to be the session's next one."""
    known = {"number": chat.message_count + 1, "attachments": form.get("attachments") or []}
    return ChatMessage(id=ChatMessage.id.default(), session=chat.id, role=role, **known | columns)


def _ended(run: Run, reason: str) -> ChatSession:
    chat = ChatSession.of(run)
    if not chat.active:
        return chat
    if run.state == runs.PENDING:
        turns.advance(run)
        chat = ChatSession.of(run)
    cancel_active(run, reason)
    for message in ChatMessage.open_in(chat.id):
        turns.close(run, message, chats.ABORTED, reason)
    run.move(runs.COMPLETED, completed_at=NOW, current_step=None)
    turns.move(chat, chats.COMPLETED, completed_at=NOW, idle_until=None)
    run.record(("run_complete", {"reason": reason, "outputs": {}}))
    return chat


def _tell(chat: ChatSession, what: str, **more: Any) -> None:
    """Tell the lists that show sessions."""
    about = {"sessionId": chat.id, "agentId": chat.agent_id, **more}
    events.announce(chat.user_id, (f"chat_session_{what}", about))


def _known(session_id: str) -> ChatSession:
    chat = ChatSession.find(session_id)
    if chat is None:
        raise Conflict(f"This Idempotency-Key led to chat {session_id}, which has been deleted")
    return chat


def _said_before(message_id: str) -> tuple[ChatMessage, ChatMessage]:
    said = ChatMessage.find(message_id)
    if said is None:
        raise Conflict("This Idempotency-Key was used for something else")
    following: Sequence[ChatMessage] = ChatMessage.of(said.session_id)
    return said, next(each for each in following if each.number == said.number + 1)
