"""Chats on the wire."""

from __future__ import annotations

from typing import Any

from flask import g
from marshmallow import fields, pre_load, validate

from models import chats, settings
from models.chats import ChatMessage, ChatSession
from models.errors import Malformed
from web.bodies import LARGEST, Form
from web.schemas.base import Free, Milliseconds, derived, made

LONGEST = 100_000  # characters of a message
MOST_ATTACHMENTS = 20
STATES = list(ChatSession.state.arrows)
EXAMPLE = "chat_yukihiro_1730000000000_5f0c9a1b2c3d4e5f"
MODEL = validate.Length(1, 256)

SessionRow = made(
    "ChatSession",
    {
        "id": fields.String(metadata={"example": EXAMPLE}),
        **derived(ChatSession, "agent_id", "user_id", "source", "title", "project_id", "model"),
        **derived(ChatSession, status="state"),
        "container_id": fields.String(
            dump_default=None, allow_none=True, metadata={"description": "There are none"}
        ),
        **derived(ChatSession, "created_at", "started_at", "last_activity_at", "completed_at"),
        **derived(ChatSession, "error", "message_count"),
        "key_resolution": Free(
            allow_none=True, metadata={"example": {"source": "executing_user", "userId": "usr_1"}}
        ),
    },
)
ToolCall = made(
    "ChatToolCall",
    {
        "toolCallId": fields.String(),
        "toolName": fields.String(metadata={"example": "read"}),
        "args": fields.String(metadata={"example": '{"path": "README.md"}'}),
        "result": fields.String(metadata={"example": "# Todo"}),
        "isError": fields.Boolean(metadata={"example": False}),
        "durationMs": fields.Integer(),
    },
)
Message = made(
    "ChatMessage",
    {
        "id": fields.String(metadata={"example": "msg_5f0c9a1b2c3d4e5f"}),
        "session_id": fields.String(metadata={"example": EXAMPLE}),
        "role": fields.String(metadata={"example": "assistant", "description": "user | assistant"}),
        "content": fields.String(),
        **derived(ChatMessage, "model", "thinking"),
        "tool_calls": fields.List(fields.Nested(ToolCall), allow_none=True),
        "attachments": fields.List(
            fields.String(metadata={"example": "att_5f0c9a1b2c3d4e5f"}), allow_none=True
        ),
        **derived(ChatMessage, status="state"),
        **derived(ChatMessage, "error", "created_at", "completed_at"),
    },
)
SessionView = made(
    "ChatSessionView",
    {
        **SessionRow._declared_fields,
        "messages": fields.List(fields.Nested(Message)),
        "stream_id": fields.String(
            metadata={
                "example": "12",
                "description": "Where the session's stream goes on from these messages",
            }
        ),
    },
)
Sessions = made(
    "ChatSessions",
    {
        "sessions": fields.List(fields.Nested(SessionRow)),
        "total": fields.Integer(),
        "has_more": fields.Boolean(),
    },
)
_ABOUT = {
    "sessionId": fields.String(metadata={"example": EXAMPLE}),
    "message": fields.String(),
}
Started = made(
    "ChatStarted",
    {
        **_ABOUT,
        "id": fields.String(metadata={"example": EXAMPLE}),
        "agent_id": fields.String(),
        "model": fields.String(),
        "status": fields.String(metadata={"example": "starting"}),
        "created_at": Milliseconds(),
    },
)
Queued = made(
    "ChatQueued",
    {
        "status": fields.String(metadata={"example": "queued"}),
        "sessionId": fields.String(metadata={"example": EXAMPLE}),
        "userMessageId": fields.String(metadata={"example": "msg_5f0c9a1b2c3d4e5f"}),
        "assistantMessageId": fields.String(metadata={"example": "msg_5f0c9a1b2c3d4e60"}),
        "messageId": fields.String(metadata={"example": "msg_5f0c9a1b2c3d4e60"}),
    },
)
Ended = made(
    "ChatEnded",
    {
        **_ABOUT,
        "session_id": fields.String(metadata={"example": EXAMPLE}),
        "status": fields.String(metadata={"example": "ended"}),
    },
)
Stopped = made("ChatStopped", {**_ABOUT, "status": fields.String(metadata={"example": "stopped"})})
Switched = made(
    "ChatSwitched",
    {
        "status": fields.String(metadata={"example": "updated"}),
        "sessionId": fields.String(metadata={"example": EXAMPLE}),
        "model": fields.String(),
    },
)
Status = made(
    "ChatStatus",
    {
        "sessionId": fields.String(metadata={"example": EXAMPLE}),
        "status": fields.String(metadata={"example": "running"}),
        "exists": fields.Boolean(),
        "messageCount": fields.Integer(),
        "model": fields.String(),
        "containerId": fields.String(allow_none=True, metadata={"example": None}),
        "createdAt": Milliseconds(),
        "lastActivityAt": Milliseconds(),
    },
)


class ChatBeginForm(Form):
    """How a session is to be; the agent stands in the address."""

    model = fields.String(allow_none=True, validate=MODEL)
    title = fields.String(allow_none=True, validate=validate.Length(max=256))
    system_prompt_supplement = fields.String(
        allow_none=True, validate=validate.Length(max=LONGEST), metadata={"example": "Be brief."}
    )
    thinking_level = fields.String(allow_none=True, validate=validate.OneOf(settings.LEVELS))
    project_id = fields.String(
        allow_none=True, validate=validate.Length(max=128), metadata={"example": None}
    )


class ChatStartForm(ChatBeginForm):
    """With whom, and how."""

    agent_id = fields.String(required=True, validate=validate.Length(1, 128))


class ChatMessageForm(Form):
    """What is said; without words only where files come along."""

    message = fields.String(
        required=True, validate=validate.Length(max=LONGEST), metadata={"example": "Hello"}
    )
    model = fields.String(allow_none=True, validate=MODEL)
    attachments = fields.List(
        fields.String(validate=validate.Length(1, 128)),
        data_key="attachment_ids",
        allow_none=True,
        validate=validate.Length(max=MOST_ATTACHMENTS),
        metadata={"example": []},
    )

    @pre_load
    def has_words(self, data: Any, **_: Any) -> Any:
        """A message of nothing but blanks says nothing."""
        words = data.get("message") if isinstance(data, dict) else None
        if isinstance(words, str) and not words.strip() and not data.get("attachment_ids"):
            return {**data, "message": None}
        return data


class ChatListForm(Form):
    """Which sessions are wanted."""

    agent_id = fields.String(validate=validate.Length(max=128))
    status = fields.String(validate=validate.OneOf(STATES))
    limit = fields.Integer(load_default=20, validate=validate.Range(1, 100))
    offset = fields.Integer(load_default=0, validate=validate.Range(0, LARGEST))


class ChatEndForm(Form):
    """Whether nothing of the session is to be left."""

    purge = fields.Boolean(load_default=False)


class ChatChangeForm(Form):
    """What of a session changes; ending it is all that can be done to its status."""

    model = fields.String(validate=MODEL)
    title = fields.String(allow_none=True, validate=validate.Length(max=256))
    status = fields.String(validate=validate.OneOf([chats.COMPLETED]))


class ChatModelForm(Form):
    """Which model answers from now on."""

    model = fields.String(required=True, validate=MODEL)


FILTERS = {
    "agent_id": ChatSession.agent_id.__eq__,
    "status": ChatSession.state.__eq__,
    "active": lambda wanted: ChatSession.state.in_(chats.ACTIVE),
}


def started(chat: ChatSession) -> dict[str, Any]:
    """The answer to whoever began a session, or began it again."""
    told = {name: getattr(chat, name) for name in ("id", "agent_id", "model", "created_at")}
    return {**told, "sessionId": chat.id, "status": chat.state, "message": f"Chat is {chat.state}"}


def queued(said: ChatMessage, answer: ChatMessage) -> dict[str, Any]:
    """The answer to whoever said something."""
    ids = {"userMessageId": said.id, "assistantMessageId": answer.id, "messageId": answer.id}
    return {"status": "queued", "sessionId": said.session_id, **ids}


def ended(session_id: str) -> dict[str, Any]:
    """The answer to whoever ended a session."""
    ids = {"session_id": session_id, "sessionId": session_id}
    return {"status": "ended", **ids, "message": "The session has ended"}


def stopped(chat: ChatSession) -> dict[str, Any]:
    """The answer to whoever stopped an answer."""
    return {"status": "stopped", "sessionId": chat.id, "message": "The answer was called off"}


def listed(rows: list[ChatSession]) -> dict[str, Any]:
    """A page of sessions."""
    return {"sessions": rows, "total": g.total, "has_more": g.more}


def shown(chat: ChatSession) -> dict[str, Any]:
    """A session with all that was said, and where its stream goes on from that."""
    messages, seq = chats.conversation(chat.id)
    return {**chat.__data__, "messages": messages, "stream_id": str(seq)}


def status_of(session_id: str, chat: ChatSession | None) -> dict[str, Any]:
    """How a session stands; one that is not there says so."""
    if chat is None:
        return {"sessionId": session_id, "status": "not_found", "exists": False}
    told = {"messageCount": chat.message_count, "model": chat.model, "containerId": None}
    times = {"createdAt": chat.created_at, "lastActivityAt": chat.last_activity_at}
    return {"sessionId": chat.id, "status": chat.state, "exists": True, **told, **times}


def with_agent(chat: ChatSession, agent_id: str) -> ChatSession:
    """The session, unless the address names another agent than it is with."""
    if agent_id not in ("", chat.agent_id):
        raise Malformed(f"Chat session {chat.id} is with {chat.agent_id}, not {agent_id}")
    return chat
