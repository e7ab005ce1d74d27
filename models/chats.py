"""Chats: what a person and an agent say to each other.

A session is a run of the kind `chat` and has its id; each answer is a step of that run.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence
from typing import Any, Self

from peewee import CharField, ForeignKeyField, IntegerField

from models.base import (
    CLOCK,
    IDENTIFIER,
    JsonField,
    LongText,
    Moment,
    Touched,
    db,
    id_field,
    now_ms,
)
from models.lifecycle import StateField, Stateful
from models.principals import Principal
from models.runs import Run

STARTING, RUNNING, COMPLETED, FAILED = "starting", "running", "completed", "failed"
ACTIVE = (STARTING, RUNNING)
QUEUED, ABORTED = "queued", "aborted"
OPEN = (QUEUED, RUNNING)  # messages that wait for an answer

USER, ASSISTANT, SYSTEM = "user", "assistant", "system"  # roles
CHAT = "chat"  # where most sessions come from, and how their ids begin

LONGEST_NAME = 64  # characters of an agent's id within the id of its session


class ChatSession(Stateful):
    """A conversation; whoever changes it or its messages holds its run's row lock first."""

    label = "Chat session"

    id = CharField(max_length=IDENTIFIER, primary_key=True)
    user_id = CharField(max_length=IDENTIFIER)
    agent_id = CharField(max_length=IDENTIFIER)
    state = StateField(
        {
            STARTING: {RUNNING, COMPLETED, FAILED},
            RUNNING: {COMPLETED, FAILED},
            COMPLETED: {STARTING},
            FAILED: {STARTING},
        }
    )
    source = CharField(max_length=32, default=CHAT)
    title = CharField(max_length=256, null=True)
    model = CharField(max_length=256)
    project_id = CharField(max_length=IDENTIFIER, null=True)
    system_prompt_supplement = LongText(null=True)
    system_prompt_override = LongText(null=True)
    tools = JsonField(default=list)  # offered besides the usual ones, by name
    key_resolution = JsonField(null=True)
    error = LongText(null=True)
    message_count = IntegerField(default=0)
    summary = LongText(null=True)  # of the messages up to number `summarised`
    summarised = IntegerField(default=0)
    context_used = IntegerField(default=0)  # tokens, when the model answered last
    idle_until = Moment(null=True)
    created_at = Moment(default=now_ms)
    updated_at = Touched()
    started_at = Moment(null=True)
    last_activity_at = Moment(default=now_ms)
    completed_at = Moment(null=True)

    class Meta:
        table_name = "chat_sessions"
        indexes = (
            (("created_at", "id"), False),
            (("user_id", "created_at", "id"), False),
            (("agent_id", "created_at", "id"), False),
            (("state", "created_at", "id"), False),
        )

    @classmethod
    def visible_to(cls, principal: Principal) -> Any:
        """Whose it is, and admins; nobody else of a project either."""
        query = cls.select()
        return query if principal.is_admin else query.where(cls.user_id == principal.id)

    @classmethod
    def of(cls, run: Run) -> Self:
        """The session that a run is; the caller holds the run's lock."""
        return cls.get_by_id(run.id)

    @property
    def active(self) -> bool:
        return self.state in ACTIVE


class ChatMessage(Stateful):
    """One thing that was said; `number` orders them within the session.

    What a person says is `completed` from the start, the answer that it waits for has the next
    number. `began` is the number of the run's last event before the agent set about answering.
    """

    label = "Message"
    session_id: str

    id = id_field("msg_")
    session = ForeignKeyField(ChatSession, on_delete="CASCADE", index=False)
    number = IntegerField()
    role = CharField(max_length=16)
    content = LongText(default="")
    model = CharField(max_length=256, null=True)
    thinking = LongText(null=True)
    tool_calls = JsonField(null=True)
    attachments = JsonField(default=list)
    state = StateField(
        {
            QUEUED: {RUNNING, ABORTED, FAILED},
            RUNNING: {COMPLETED, FAILED, ABORTED},
            COMPLETED: set(),
            FAILED: set(),
            ABORTED: set(),
        }
    )
    error = LongText(null=True)
    execution_id = CharField(max_length=IDENTIFIER, null=True, index=True)
    began = IntegerField(null=True)
    created_at = Moment(default=now_ms)
    updated_at = Touched()
    completed_at = Moment(null=True)

    class Meta:
        table_name = "chat_messages"
        indexes = ((("session", "number"), True),)

    @classmethod
    def of(cls, session_id: str, after: int = 0) -> Sequence[Self]:
        """All that was said in a session, or all after number `after`, in order."""
        text = """
            SELECT * FROM chat_messages WHERE session_id = %s AND number > %s ORDER BY number
        """
        return cls.read(text, session_id, after)

    @classmethod
    def open_in(cls, session_id: str) -> Sequence[Self]:
        """The answers that are still to come, in order."""
        text = """
            SELECT * FROM chat_messages
            WHERE session_id = %s AND state IN ('queued', 'running') ORDER BY number
        """
        return cls.read(text, session_id)

    @classmethod
    def of_execution(cls, execution_id: str) -> Self | None:
        """The answer that this execution of a step is to give."""
        text = "SELECT * FROM chat_messages WHERE execution_id = %s"
        return next(iter(cls.read(text, execution_id)), None)


def conversation(session_id: str) -> tuple[Sequence[ChatMessage], int]:
    """All that was said in a session, and the last of its run's events that this has in it.

    What an answer under way says is told by the events after that.
    """
    text = """
        SELECT said.*, event_seq FROM runs LEFT JOIN chat_messages AS said ON session_id = runs.id
        WHERE runs.id = %s ORDER BY number
    """
    rows = ChatMessage.read(text, session_id)
    messages = [row for row in rows if row.id is not None]
    begun = [each.began for each in messages if each.state == RUNNING and each.began is not None]
    return messages, min(begun) if begun else rows[0].__data__["event_seq"] if rows else 0


def drawn(prefix: str, agent_id: str, at: int) -> str:
    """An id for a session, `chat_{agent}_{ms}_{random}`, which nobody can guess."""
    name = re.sub(r"[^A-Za-z0-9_-]", "-", agent_id)[:LONGEST_NAME]
    return f"{prefix}_{name}_{at}_{secrets.token_hex(8)}"


def active_of(user_id: str) -> int:
    """How many sessions somebody has that are not over."""
    mine = (ChatSession.user_id == user_id) & ChatSession.state.in_(ACTIVE)
    return int(ChatSession.select().where(mine).count())


def idle(limit: int = 100) -> list[str]:
    """The ids of sessions in which nobody has said anything for too long."""
    rows = db.execute_sql(
        f"""
        SELECT id FROM chat_sessions
        WHERE state IN ('starting', 'running') AND idle_until < {CLOCK}
            AND NOT EXISTS (SELECT FROM chat_messages WHERE session_id = chat_sessions.id
                AND chat_messages.state IN ('queued', 'running'))
        ORDER BY idle_until LIMIT %s
        """,  # noqa: S608
        (limit,),
    )
    return [session_id for (session_id,) in rows]
