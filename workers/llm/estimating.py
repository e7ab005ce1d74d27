"""How many tokens a text has, roughly, where nobody counted."""

from __future__ import annotations

from collections.abc import Sequence

from workers.llm.base import Call, Message, Part, Thinking, Usage

CHARACTERS_PER_TOKEN = 4


def tokens(text: str) -> int:
    """About as many tokens as most tokenizers make of English or code."""
    return -(-len(text) // CHARACTERS_PER_TOKEN)


def estimated(messages: Sequence[Message], answer: Message) -> Usage:
    """The usage of an answer whose provider sent no figures."""
    return Usage(
        input=sum(weight(message) for message in messages),
        output=weight(answer),
        thinking=sum(tokens(part.text) for part in answer.parts if isinstance(part, Thinking)),
        approximate=True,
    )


def weight(message: Message) -> int:
    """About how many tokens a message takes of the window."""
    return sum(tokens(_written(part)) for part in message.parts)


def _written(part: Part) -> str:
    return part.name + part.arguments if isinstance(part, Call) else part.text
