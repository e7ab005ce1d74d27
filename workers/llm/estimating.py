"""How many tokens a text has where nobody counted: roughly, or at most."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from models.attachments import IMAGE_TOKENS
from workers.llm.base import Call, Image, Message, Part, Shape, Thinking, ToolSpec, Usage

CHARACTERS_PER_TOKEN = 4
A_CALL = 1024  # tokens a provider may put around a conversation: its own words about tools
MOST_OF_AN_IMAGE = 8_192  # tokens; providers scale larger ones down
A_PIECE = 32  # and around each message, part and tool: roles, names, separators


def tokens(text: str) -> int:
    """About as many tokens as most tokenizers make of English or code."""
    return -(-len(text) // CHARACTERS_PER_TOKEN)


def estimated(messages: Sequence[Message], answer: Message, tools: Sequence[Any] = ()) -> Usage:
    """The usage of an answer whose provider sent no figures; `tools` as they were sent."""
    schemas = tokens(json.dumps(tools)) if tools else 0
    return Usage(
        input=schemas + sum(weight(message) for message in messages),
        output=weight(answer),
        thinking=sum(tokens(part.text) for part in answer.parts if isinstance(part, Thinking)),
        approximate=True,
    )


def weight(message: Message) -> int:
    """About how many tokens a message takes of the window."""
    return sum(_weight(part) for part in message.parts)


def most(messages: Sequence[Message], tools: Sequence[ToolSpec], shape: Shape | None) -> int:
    """As many tokens as sending this can take at most: a token stands for at least one byte."""
    schemas = [(tool.name, tool.description, tool.parameters) for tool in tools]
    if shape is not None:
        schemas.append((shape.name, "", shape.schema))
    told = sum(A_PIECE + len(json.dumps(schema)) for schema in schemas)
    return A_CALL + told + bound(messages)


def bound(messages: Sequence[Message]) -> int:
    """As many tokens as these messages can add to a conversation at most."""
    return sum(
        A_PIECE + sum(A_PIECE + _bytes(part) for part in message.parts) for message in messages
    )


def _bytes(part: Part) -> int:
    """The bytes of what is sent of a part; calls may be written as JSON once more."""
    if isinstance(part, Image):
        return MOST_OF_AN_IMAGE
    if isinstance(part, Call):
        return len(json.dumps(part.name + part.arguments)) + len(part.signature or "")
    hidden = part.redacted or "" if isinstance(part, Thinking) else ""
    return len(part.text.encode("utf-8", "replace")) + len(hidden)


def _weight(part: Part) -> int:
    if isinstance(part, Image):
        return IMAGE_TOKENS
    return tokens(part.name + part.arguments if isinstance(part, Call) else part.text)
