"""Answers and messages as JSON for the ledger, and back, nothing lost."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import orjson

from models.base import clean
from workers.agents.events import Answer, Asking
from workers.llm.base import (
    Call,
    Image,
    Message,
    Model,
    Overflow,
    Part,
    Reply,
    Result,
    Text,
    Thinking,
    Usage,
)

PARTS: Mapping[str, type[Part]] = {
    "text": Text,
    "thinking": Thinking,
    "call": Call,
    "result": Result,
    "image": Image,
}
NAMES = {kind: name for name, kind in PARTS.items()}


def message_row(message: Message) -> dict[str, Any]:
    """A message as JSON."""
    parts = [{"kind": NAMES[type(part)], **asdict(part)} for part in message.parts]
    return {"role": message.role, "parts": parts}


def message_of(row: Mapping[str, Any]) -> Message:
    """The message that was written as `row`."""
    return Message(row["role"], tuple(_part(part) for part in row["parts"]))


def _part(row: Mapping[str, Any]) -> Part:
    fields = {key: value for key, value in row.items() if key != "kind"}
    return PARTS[row["kind"]](**fields)


def answer_row(answer: Answer) -> dict[str, Any]:
    """A model's answer as JSON."""
    reply = answer.reply
    return {
        "message": message_row(reply.message),
        "usage": asdict(reply.usage),
        "stop": reply.stop,
        "model": reply.model,
        "request_id": reply.request_id,
        "seconds": answer.seconds,
        "context_used": answer.context_used,
    }


def overflow_row(message: str) -> dict[str, Any]:
    """A model's word that it was asked too much, as JSON."""
    return {"overflow": message}


def answer_of(row: Mapping[str, Any]) -> Answer | Overflow:
    """The answer, or the Overflow, that was written as `row`."""
    if "overflow" in row:
        return Overflow(row["overflow"])
    message, usage = message_of(row["message"]), Usage(**row["usage"])
    reply = Reply(message, usage, row["stop"], row["model"], row["request_id"])
    return Answer(reply, row["seconds"], row["context_used"])


def result_row(result: Result, seconds: float) -> dict[str, Any]:
    """A tool's result as JSON; which call it answers, the call knows."""
    return {"text": result.text, "is_error": result.is_error, "seconds": seconds}


def result_of(row: Mapping[str, Any], call: Call) -> Result:
    """The result of `call` that was written as `row`."""
    return Result(call.id, row["text"], row["is_error"])


def digest(value: Any) -> str:
    """A short name for a JSON value: equal values have equal names."""
    text = orjson.dumps(clean(value), option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(text).hexdigest()[:32]


def model_row(model: Model) -> dict[str, Any]:
    """What a conversation goes by of the model that it is held with."""
    names = ("provider", "name", "window", "small", "scripted")
    return {name: getattr(model, name) for name in names}


def question_row(asking: Asking) -> dict[str, Any]:
    """How a model was asked, without the messages."""
    options = asking.options
    return {
        "tools": [spec.name for spec in asking.tools],
        "shape": options.shape.name if options.shape else None,
        "max_output_tokens": options.max_output_tokens,
        "temperature": options.temperature,
        "thinking_level": options.thinking_level,
    }


def question_key(asking: Asking) -> str:
    """A digest of all that a model was asked."""
    return digest([*map(message_row, asking.messages), question_row(asking)])


def call_key(call: Call) -> str:
    """A digest of what a tool was called with."""
    return digest([call.name, call.arguments])


def rows(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """Messages as JSON."""
    return [message_row(message) for message in messages]


def cleaned(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """Messages as JSON, as they are when they have been in the database."""
    kept: list[dict[str, Any]] = clean(rows(messages))
    return kept
