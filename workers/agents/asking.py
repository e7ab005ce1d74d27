"""Asking a model once: its pieces as they stream, then the whole reply and how long it took."""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace

from workers.agents.events import Answer, Asking, Limits, Overflowed, Spoke, Talk
from workers.agents.tools.base import tidy
from workers.halting import Halt
from workers.llm.base import (
    Call,
    Delta,
    Message,
    Model,
    Options,
    Overflow,
    Part,
    Reply,
    Shape,
    Text,
    Thinking,
    ToolSpec,
)
from workers.llm.estimating import weight

LEAST_ROOM = 256  # tokens an answer always gets


@dataclass(frozen=True)
class Question:
    """Everything one request to a model consists of."""

    messages: Sequence[Message]
    limits: Limits
    tools: Sequence[ToolSpec] = ()
    shape: Shape | None = None


@dataclass(frozen=True)
class Asked:
    """The answer, and whether whoever drives the conversation knew it already."""

    answer: Answer
    known: bool


def ask(model: Model, question: Question, halt: Halt) -> Talk[Asked]:
    """One answer, streamed unless it is known already; raises what the model raises."""
    options = _options(model, question)
    known = yield Asking(question.messages, question.tools, options)
    if isinstance(known, Answer):
        return Asked(known, known=True)
    if isinstance(known, Overflow):
        raise known
    options = known if isinstance(known, Options) else options
    began = time.monotonic()
    stream = model.reply(question.messages, question.tools, options, halt)
    try:
        reply = yield from _spoken(stream)
    except Overflow as error:
        yield Overflowed(str(error), error.unpaid)
        raise
    finally:
        stream.close()
    counted = reply.usage.input + reply.usage.output
    used = counted or size(question.messages) + weight(reply.message)
    return Asked(Answer(reply, time.monotonic() - began, used), known=False)


def _spoken(stream: Generator[Delta, None, Reply]) -> Talk[Reply]:
    while True:
        try:
            delta = next(stream)
        except StopIteration as done:
            return _tidied(done.value)
        yield Spoke(delta.kind, tidy(delta.text))


def _tidied(reply: Reply) -> Reply:
    """The reply as it can be written down and sent back: some servers cut characters in two."""
    parts = tuple(map(_fit, reply.message.parts))
    return replace(reply, message=replace(reply.message, parts=parts))


def _fit(part: Part) -> Part:
    if isinstance(part, Call):
        return replace(part, name=tidy(part.name), arguments=tidy(part.arguments))
    return replace(part, text=tidy(part.text)) if isinstance(part, Text | Thinking) else part


def size(messages: Sequence[Message]) -> int:
    """About how many tokens the messages take."""
    return sum(weight(message) for message in messages)


def _options(model: Model, question: Question) -> Options:
    limits = question.limits
    room = max(LEAST_ROOM, model.window - size(question.messages) - LEAST_ROOM)
    return Options(
        max_output_tokens=min(limits.max_output_tokens, room),
        temperature=limits.temperature,
        thinking_level=limits.thinking_level,
        shape=question.shape,
        silence=limits.silence,
    )
