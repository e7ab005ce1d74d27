"""Onboarding: a person talks to one agent after another, and what they say becomes a project.

Each agent has a chat of its own with the person. What is known so far is one JSON object, which
only ever grows by a merge in the database, so that two who add to it at once lose nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

from peewee import CharField, ForeignKeyField

from models.agents import Agent
from models.base import (
    CLOCK,
    IDENTIFIER,
    JsonField,
    LongText,
    Model,
    Moment,
    Touched,
    db,
    dumps,
    id_field,
    now_ms,
)
from models.lifecycle import StateField, Stateful
from models.principals import Principal

ACTIVE, COMPLETED, ABANDONED = "active", "completed", "abandoned"
SOURCE = "onboarding"  # of its chats
CHAT_PREFIX = "onb"
DONE = "done"  # what comes after the last agent
CHAIN = ("stas", "jim", "eric", "finn")
PHASES: Mapping[str, str] = {
    "stas": "intake",
    "jim": "strategy",
    "eric": "product",
    "yang": "product",
    "finn": "architecture",
}
USUAL_PHASE = "product"
TOOLS = ("update_onboarding_context", "update_onboarding_landing_page", "onboarding_handoff")
MOST_CONTEXT = 64 << 10  # bytes
MOST_HTML = 512 << 10  # bytes
SETTLING_MS = 60_000  # how long a session may be ahead of what was asked for it


class OnboardingSession(Stateful):
    """One conversation that is to become a project."""

    label = "Onboarding session"

    id = id_field("onb_")
    owner_id = CharField(max_length=IDENTIFIER)
    state = StateField(
        {ACTIVE: {ACTIVE, COMPLETED, ABANDONED}, COMPLETED: set(), ABANDONED: {ACTIVE, ABANDONED}}
    )
    template_id = CharField(max_length=IDENTIFIER, null=True)
    chain = JsonField(default=list)  # ids of agents, in the order in which they talk
    current_agent_id = CharField(max_length=IDENTIFIER)
    phase = CharField(max_length=32)
    context = JsonField(default=dict)
    landing_page = JsonField(null=True)
    chat_session_id = CharField(max_length=IDENTIFIER, null=True, index=True)
    model = CharField(max_length=256)
    project_id = CharField(max_length=IDENTIFIER, null=True)
    planning_run_id = CharField(max_length=IDENTIFIER, null=True)
    planning_error = LongText(null=True)
    created_at = Moment(default=now_ms)
    updated_at = Touched()
    completed_at = Moment(null=True)

    class Meta:
        table_name = "onboarding_sessions"
        indexes = ((("owner_id", "updated_at", "id"), False),)

    @classmethod
    def visible_to(cls, principal: Principal) -> Any:
        """Whose it is, and nobody else: not even admins talk in somebody's name."""
        return cls.select().where(cls.owner_id == principal.id)

    @classmethod
    def locked(cls, session_id: str) -> Self:
        """The session under its row lock, taken after its chat's; NotFound when it is gone."""
        text = "SELECT * FROM onboarding_sessions WHERE id = %s FOR NO KEY UPDATE"
        for row in cls.read(text, session_id):
            return row
        raise cls.missing(session_id)

    @classmethod
    def of_chat(cls, chat_id: str) -> Self | None:
        """The session that a chat belongs to at present."""
        text = "SELECT * FROM onboarding_sessions WHERE chat_session_id = %s"
        return next(iter(cls.read(text, chat_id)), None)

    @property
    def later(self) -> list[str]:
        """Whom the current agent may hand over to."""
        place = self.chain.index(self.current_agent_id) if self.chain else -1
        return [*self.chain[place + 1 :], DONE]


class OnboardingMessage(Model):
    """A note of ours in the conversation: who begins, who hands over to whom, and in which chat."""

    session_id: str

    id = id_field("ombm_")
    session = ForeignKeyField(OnboardingSession, on_delete="CASCADE", index=False)
    content = LongText()
    agent_id = CharField(max_length=IDENTIFIER)
    handoff_to_agent = CharField(max_length=IDENTIFIER, null=True)
    chat_session_id = CharField(max_length=IDENTIFIER, null=True)  # that begins with it
    created_at = Moment(default=now_ms)

    class Meta:
        table_name = "onboarding_messages"
        indexes = ((("session", "created_at", "id"), False),)


def phase_of(agent_id: str) -> str:
    """What a session is about while this agent talks."""
    return PHASES.get(agent_id, USUAL_PHASE)


def merge(session_id: str, more: Mapping[str, Any]) -> dict[str, Any] | None:
    """Add to what is known, key by key; gives all of it, None where it cannot be added to."""
    text = f"""
        UPDATE onboarding_sessions SET context = context || %(more)s::jsonb, updated_at = {CLOCK}
        WHERE id = %(id)s AND state = 'active'
            AND octet_length((context || %(more)s::jsonb)::text) <= {MOST_CONTEXT}
        RETURNING context
    """  # noqa: S608
    found = db.now(text, {"id": session_id, "more": dumps(dict(more))}).fetchone()
    return found[0] if found else None


def show(session_id: str, agent_id: str, html: str, caption: str | None) -> dict[str, Any] | None:
    """Put up another landing page; gives it with its number, None where none may be put up."""
    text = f"""
        UPDATE onboarding_sessions SET updated_at = {CLOCK}, landing_page = %(page)s::jsonb
            || jsonb_build_object('version',
                coalesce((landing_page ->> 'version')::int, 0) + 1)
        WHERE id = %(id)s AND state = 'active' RETURNING landing_page
    """  # noqa: S608
    page = {"html": html, "caption": caption, "last_agent_id": agent_id}
    found = db.now(text, {"id": session_id, "page": dumps(page)}).fetchone()
    return found[0] if found else None


def chats_of(session_id: str) -> list[str]:
    """The ids of all its chats, the first one first."""
    text = """
        SELECT chat_session_id FROM onboarding_messages
        WHERE session_id = %s AND chat_session_id IS NOT NULL ORDER BY created_at, id
    """
    return [key for (key,) in db.now(text, (session_id,)).fetchall()]


def forsaken() -> list[tuple[str, int]]:
    """Active sessions whose chat is over, or gone, and when each was last written."""
    text = f"""
        SELECT sessions.id, sessions.updated_at FROM onboarding_sessions AS sessions
            LEFT JOIN chat_sessions AS chats ON chats.id = chat_session_id
        WHERE sessions.state = 'active' AND sessions.updated_at < {CLOCK} - %s
            AND (chats.id IS NULL OR chats.state IN ('completed', 'failed')
                AND chats.updated_at < {CLOCK} - %s) LIMIT 100
    """  # noqa: S608
    rows = db.now(text, (SETTLING_MS, SETTLING_MS)).fetchall()
    return [(key, written) for key, written in rows]


def unplanned() -> list[str]:
    """Completed sessions whose planning is long due: nothing is being cloned for it any more."""
    text = f"""
        SELECT sessions.id FROM onboarding_sessions AS sessions
            LEFT JOIN project_repositories AS code USING (project_id)
        WHERE sessions.state = 'completed'
            AND planning_run_id IS NULL AND planning_error IS NULL
            AND code.state IS DISTINCT FROM 'queued'
            AND greatest(sessions.updated_at, code.updated_at) < {CLOCK} - %s
        ORDER BY sessions.updated_at LIMIT 100
    """  # noqa: S608
    return [key for (key,) in db.now(text, (SETTLING_MS,)).fetchall()]


# Notes of ours and what was said in the chats, in order; what a chat begins with we said ourselves.
_MESSAGES = """
    SELECT * FROM (
        SELECT id, 'system' AS role, content, agent_id, NULL::jsonb AS tool_calls,
            NULL AS thinking, handoff_to_agent, created_at, NULL AS status, 0 AS number
        FROM onboarding_messages WHERE session_id = %(id)s
        UNION ALL
        SELECT said.id, said.role, said.content, chats.agent_id, said.tool_calls,
            said.thinking, NULL, said.created_at, said.state, said.number
        FROM onboarding_messages AS notes
            JOIN chat_sessions AS chats ON chats.id = notes.chat_session_id
            JOIN chat_messages AS said ON said.session_id = chats.id
        WHERE notes.session_id = %(id)s AND said.number > 1
    ) AS told ORDER BY created_at, number, id
"""


def messages(session: OnboardingSession) -> Sequence[dict[str, Any]]:
    """The whole conversation, oldest first."""
    cursor = db.now(_MESSAGES, {"id": session.id})
    names = [column.name for column in cursor.description]
    rows = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
    known = faces({row["agent_id"] for row in rows})
    return [{**row, "session_id": session.id, **known[row["agent_id"]]} for row in rows]


def faces(agent_ids: set[str]) -> dict[str, dict[str, Any]]:
    """How these agents are called and shown."""
    rows = Agent.select(Agent.id, Agent.name, Agent.emoji).where(Agent.id.in_(agent_ids))
    found = {row.id: {"agent_name": row.name, "agent_emoji": row.emoji or "🤖"} for row in rows}
    unknown = {key: {"agent_name": key.capitalize(), "agent_emoji": "🤖"} for key in agent_ids}
    return {**unknown, **found}
