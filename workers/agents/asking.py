"""Asking a model once: its pieces as they stream, then the whole reply and how long it took."""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass

from workers.agents.events import Limits, Spoke
from workers.halting import Halt
from workers.llm.base import Message, Model, Options, Reply, Shape, ToolSpec
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
class Answer:
    reply: Reply
    seconds: float
    context_used: int


def ask(model: Model, question: Question, halt: Halt) -> Generator[Spoke, None, Answer]:
    """Stream one answer; raises what the model raises."""
    began = time.monotonic()
    written = size(question.messages)
    options = _options(model, question, written)
    stream = model.reply(question.messages, question.tools, options, halt)
    try:
        while True:
            try:
                delta = next(stream)
            except StopIteration as done:
                reply: Reply = done.value
                break
            yield Spoke(delta.kind, delta.text)
    finally:
        stream.close()
    counted = reply.usage.input + reply.usage.output
    used = counted or written + weight(reply.message)
    return Answer(reply, time.monotonic() - began, used)


def size(messages: Sequence[Message]) -> int:
    """About how many tokens the messages take."""
    return sum(weight(message) for message in messages)


def _options(model: Model, question: Question, written: int) -> Options:
    limits = question.limits
    room = max(LEAST_ROOM, model.window - written - LEAST_ROOM)
    return Options(
        max_output_tokens=min(limits.max_output_tokens, room),
        temperature=limits.temperature,
        thinking_level=limits.thinking_level,
        shape=question.shape,
        silence=limits.silence,
    )
