"""How a chat moves on: its session begins, one turn follows the other, each answer is kept.

Every function is called inside a transaction that holds the run's row lock.
"""

from __future__ import annotations

from typing import Any

from models import chats, events, ledger, runs, settings, steps, utterances
from models.base import CLOCK, NOW, Expression, db
from models.chats import ChatMessage, ChatSession
from models.runs import Run
from models.steps import Step
from tasks.steps import ask_for

TURN = "CHAT"  # the one step of every chat
CARRIED = "carried"  # in the run's meta: savepoints


def advance(run: Run) -> None:
    """Begin the session, and its next turn unless one is under way."""
    if run.state == runs.PENDING:
        run.move(runs.RUNNING, started_at=NOW)
        run.record(("run_started", {"pipelineId": run.pipeline_id, "attempt": run.attempt}))
        move(ChatSession.of(run), chats.RUNNING, started_at=NOW)
    if run.state == runs.RUNNING:
        active = under_way(run)
        if active is None:
            follow(run)
        elif active.state == steps.QUEUED:
            ask_for(active)


def under_way(run: Run) -> Step | None:
    """The step of the turn that waits for a worker or has one."""
    text = """
        SELECT * FROM steps WHERE run_id = %s AND state IN ('queued', 'running', 'waiting')
    """
    return next(iter(Step.read(text, run.id)), None)


def follow(run: Run) -> None:
    """Ask for the answer to the oldest message that has none; without one the session rests."""
    waiting = next(iter(ChatMessage.open_in(run.id)), None)
    if waiting is None:
        return
    chat = ChatSession.of(run)
    step = Step(
        id=Step.id.default(),
        run=run.id,
        attempt=run.attempt,
        number=_last_number(run) + 1,
        step_id=TURN,
        agent_id=chat.agent_id,
        position=0,
        max_retries=0,
        priority=run.priority,
        queue=steps.CHATS,
        model_used=waiting.model or chat.model,
    )
    step.add()
    waiting.put(execution_id=step.id)
    run.put(current_step=TURN, updated_at=NOW)
    about = {"stepId": TURN, "agentId": step.agent_id, "executionId": step.id}
    run.record(("step_queued", {**about, "messageId": waiting.id}))
    ask_for(step)


def begun(run: Run, step: Step) -> None:
    """An agent has sat down at a turn; for the first time, or in place of one that was lost."""
    message = ChatMessage.of_execution(step.id)
    if message is not None and message.state == chats.QUEUED:
        message.move(chats.RUNNING, began=run.event_seq)
        started = {"messageId": message.id, "executionId": step.id, "model": step.model_used}
        run.record(("message_started", started))


def settled(run: Run, step: Step, state: str, error: str | None = None) -> None:
    """A turn has ended this way: keep what was said in it, and go on with the next."""
    message = ChatMessage.of_execution(step.id)
    if message is not None and message.state in chats.OPEN:
        close(run, message, state, error)
    _clear(run, step)
    rest(run)
    if run.state == runs.RUNNING:
        follow(run)


def leave(step: Step, words: str, thoughts: str) -> None:
    """A worker whose turn was called off adds what it had heard of the reply under way, once."""
    with db.atomic():
        run = Run.locked(step.run_id)
        message = ChatMessage.of_execution(step.id)
        if run is None or message is None or message.state != chats.ABORTED:
            return
        said = utterances.since(run.id, message.began)
        if message.content == said.content and message.thinking == said.thinking:
            thinking = f"{said.thinking or ''}{thoughts}" or None
            message.put(content=said.content + words, thinking=thinking, updated_at=NOW)


def carried(run: Run) -> list[tuple[str, str]]:
    """How the files stood after each act of the turns that ended badly since the last commit."""
    return [(commit, snapshot) for commit, snapshot in run.meta.get(CARRIED, ())]


def close(run: Run, message: ChatMessage, state: str, error: str | None = None) -> None:
    """End a message with what the agent has said to it by now."""
    said = utterances.since(run.id, message.began)
    message.move(state, error=error, completed_at=NOW, **said.columns())
    about = {"messageId": message.id, "executionId": message.execution_id}
    if state == chats.FAILED:
        run.record(("message_error", {**about, "error": error}))
    run.record(("message_ended", {**about, "status": state, "error": error}))


def rest(run: Run, **changes: Any) -> None:
    """Something has happened: the session waits for the next message from now on."""
    changes = {"last_activity_at": NOW, "updated_at": NOW, **changes}
    known = {"key_resolution": run.key_resolution, "idle_until": idle_from_now()}
    ChatSession(id=run.id).put(**known, **changes)


def move(chat: ChatSession, state: str, **changes: Any) -> None:
    """Move a session along and tell the lists that show it."""
    told = {"sessionId": chat.id, "agentId": chat.agent_id, "oldStatus": chat.state}
    chat.move(state, **changes)
    happened = ("chat_session_status_changed", {**told, "newStatus": chat.state})
    events.announce(chat.user_id, happened)


def idle_from_now() -> Expression:
    """When a session is idle in which nothing happens any more."""
    minutes = int(settings.told()["chatIdleTimeoutMin"])
    return Expression(f"{CLOCK} + {minutes * 60_000}")


def _clear(run: Run, step: Step) -> None:
    """Forget the record of a turn, which was for who took it over; but not what it did to files."""
    kept = [] if step.commit else [*carried(run), *ledger.savepoints(step.id)]
    if kept != carried(run):
        run.put(meta={**run.meta, CARRIED: kept})
    ledger.cut(step.id, 0)


def _last_number(run: Run) -> int:
    text = "SELECT coalesce(max(number), 0) FROM steps WHERE run_id = %s AND attempt = %s"
    return int(db.now(text, (run.id, run.attempt)).fetchone()[0])
