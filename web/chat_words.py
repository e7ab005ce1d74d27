"""What happens in a chat, in the words that chat clients know (work.md section 20.3)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import orjson

from models.base import is_deep
from models.live_text import TEXT, THINKING, TOOL_OUTPUT
from web.items import Payload

PIECES = {TEXT: ("output", "content"), THINKING: ("thinking", "thinking")}
OVER = frozenset({"turn_end", "turn_cut", "message_ended"})  # no more of a reply comes after
CONDENSED = "Earlier messages were condensed, so that the conversation fits the model."
WAITING = "The agent waits for others whom it has asked to do something."


def in_words(payload: Payload) -> Payload | None:
    """The frame for an event of a chat's run; None for what no client of a chat wants to hear."""
    translation = WORDS.get(payload["type"])
    told = translation(payload) if translation is not None else None
    if told is None:
        return None
    kind, data = told
    return {"type": kind, "timestamp": payload["timestamp"], "data": data}


Told = tuple[str, dict[str, Any]] | None


def _queued(payload: Payload) -> Told:
    """What somebody said, for the session's other clients; in a type that all of them know.

    Terminal clients print what they do not know.
    """
    names = ("messageId", "assistantMessageId", "content", "attachments")
    return "container_busy", {"status": "busy", **{name: payload[name] for name in names}}


def _started(payload: Payload) -> Told:
    told = {"messageId": payload["messageId"], "model": payload["model"]}
    return "step_start", {"requestId": payload["messageId"], "stepNumber": 1, **told}


def _ended(payload: Payload) -> Told:
    about = {"messageId": payload["messageId"]}
    if payload["status"] == "aborted":
        return "response_aborted", {"reason": payload["error"], **about}
    failed = {} if payload["error"] is None else {"error": payload["error"]}
    return "turn_end", {"success": payload["status"] == "completed", **about, **failed}


def _call_began(payload: Payload) -> Told:
    names = ("toolName", "toolCallId")
    called = {name: payload[name] for name in names}
    args = _read(payload["args"])
    return "tool_start", {"requestId": payload["sessionId"], **called, "args": args}


def _call_ended(payload: Payload) -> Told:
    names = ("toolName", "toolCallId", "result", "durationMs")
    told = {name: payload[name] for name in names} | {"success": not payload["isError"]}
    return "tool_end", {"requestId": payload["sessionId"], **told}


def printed(payload: Payload) -> Payload:
    """The frame for what a tool prints while it works."""
    names = ("toolName", "toolCallId", "stream")
    told = {name: payload[name] for name in names} | {"content": payload["chunk"]}
    data = {"requestId": payload["sessionId"], **told}
    return {"type": TOOL_OUTPUT, "timestamp": payload["timestamp"], "data": data}


def _read(arguments: str) -> Any:
    """Arguments as the object they are; as they were written where nobody could read them."""
    try:
        read = orjson.loads(arguments)
    except ValueError:
        return arguments
    return arguments if is_deep(read) else read


def _status(message: str) -> Callable[[Payload], Told]:
    return lambda payload: ("session_status", {"message": message})


WORDS: Mapping[str, Callable[[Payload], Told]] = {
    "run_started": lambda payload: ("container_ready", {"status": "ready"}),
    "message_queued": _queued,
    "message_started": _started,
    "message_error": lambda payload: ("session_error", {"message": payload["error"]}),
    "message_ended": _ended,
    "tool_call_start": _call_began,
    "tool_call_end": _call_ended,
    "context_compacted": _status(CONDENSED),
    "step_waiting": _status(WAITING),
    "warning": lambda payload: ("session_status", {"message": payload["message"]}),
    "run_complete": lambda payload: ("session_complete", {"reason": payload["reason"]}),
}
