"""Making a conversation fit its model's window again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from workers.agents.asking import Asked, Question, ask, size
from workers.agents.events import Compacted, Known, Limits, Spoke, Talk
from workers.agents.tools.base import bounded
from workers.halting import Halt
from workers.llm.base import Call, Image, Message, Model, Overflow, Result, Text, Thinking
from workers.llm.estimating import CHARACTERS_PER_TOKEN, tokens

T = TypeVar("T")
Divided = tuple[Sequence[Message], Sequence[Message], Sequence[Message]]

FULL = 0.85  # of the window: from here on a conversation is compacted
PROTECTED_TOKENS = 40_000  # the newest tool results, left whole
WORTHWHILE_TOKENS = 20_000  # what shortening results must free, else a summary is made
SHORT_CHARS = 3_000  # of a shortened result
SUMMARY_TOKENS = 8_192
EXCHANGES_KEPT = 3

CONDENSE = """You condense the record of an agent's work so that the agent can go on from it alone.
Keep: what was decided and why, every file touched and its state, commands and their outcome, what
failed, what is left to do, exact names and values. Leave out greetings and repetition. Write plain
notes, no preamble, nothing that is not in the record."""
RESUMED = "Your earlier turns were condensed to save room. What happened so far:\n\n"


@dataclass(frozen=True)
class Compaction:
    """The shorter conversation and what to say about it."""

    messages: list[Message]
    event: Compacted


def is_full(model: Model, used: int) -> bool:
    """Whether `used` tokens leave too little of the window."""
    return used >= FULL * model.window


def compact(model: Model, messages: Sequence[Message], halt: Halt) -> Talk[Compaction | None]:
    """Shorten old tool results or, when that is not enough, have the model condense old turns.

    None when nothing can be taken away. Raises what the model raises, except Overflow.
    """
    before = size(messages)
    shortened = _shortened(messages, min(PROTECTED_TOKENS, model.window * 3 // 10))
    if before - size(shortened) >= min(WORTHWHILE_TOKENS, model.window * 15 // 100):
        return Compaction(shortened, Compacted(before, size(shortened)))
    opening, middle, recent = _divided(messages)
    if not middle:
        recent = _shortened(messages, 0)
        gained = before - size(recent)
        return Compaction(recent, Compacted(before, size(recent))) if gained > 0 else None
    return (yield from condense(model, (opening, middle, recent), halt))


def condense(model: Model, divided: Divided, halt: Halt) -> Talk[Compaction]:
    """Put the model's own notes in place of the middle of a conversation.

    Where it cannot even read the middle, the names of the tools that were called take their place.
    """
    opening, middle, recent = divided
    asked = yield from _condensed(model, middle, halt)
    answer, known = (asked.answer, asked.known) if asked else (None, False)
    summary = (answer.reply.message.text.strip() if answer else "") or _digest(middle)
    shorter = [*opening, resumed(summary), *recent]
    before = sum(map(size, divided))
    return Compaction(shorter, Compacted(before, size(shorter), summary, answer, known))


def resumed(summary: str) -> Message:
    """What a conversation goes on from."""
    return Message("user", (Text(RESUMED + summary),))


def _shortened(messages: Sequence[Message], protected: int) -> list[Message]:
    """The messages with all tool results cut down but the newest `protected` tokens of them."""
    kept: list[Message] = []
    newest = 0
    for message in reversed(messages):
        parts = list(message.parts)
        for index in reversed(range(len(parts))):
            part = parts[index]
            if isinstance(part, Result):
                newest += tokens(part.text)
                if newest > protected:
                    parts[index] = replace(part, text=bounded(part.text, SHORT_CHARS))
        kept.append(replace(message, parts=tuple(parts)))
    return kept[::-1]


def _divided(messages: Sequence[Message]) -> Divided:
    """The opening (up to the task), what may be condensed, and the last exchanges.

    A cut is only made before an assistant's message, so calls stay with their results.
    """
    task = next(index for index, message in enumerate(messages) if message.role == "user") + 1
    turns = [index for index, message in enumerate(messages) if message.role == "assistant"]
    kept = min(EXCHANGES_KEPT, len(turns) - 1)
    cut = turns[-kept] if kept > 0 else task
    return messages[:task], messages[task:cut], messages[cut:]


def _condensed(model: Model, middle: Sequence[Message], halt: Halt) -> Talk[Asked | None]:
    """The model's own notes; None when even the record does not fit."""
    room = model.window * CHARACTERS_PER_TOKEN // 2
    record = Message("user", (Text(bounded(_record(middle), room)),))
    limits = Limits(max_output_tokens=min(SUMMARY_TOKENS, max(256, model.window // 8)))
    question = Question((Message("system", (Text(CONDENSE),)), record), limits)
    try:
        return (yield from _unheard(ask(model, question, halt)))
    except Overflow:
        return None


def _unheard(talk: Talk[T]) -> Talk[T]:
    """The same talk without its words: notes are not the agent speaking."""
    known: Known = None
    while True:
        try:
            event = talk.send(known)
        except StopIteration as done:
            value: T = done.value
            return value
        known = None if isinstance(event, Spoke) else (yield event)


def _record(messages: Sequence[Message]) -> str:
    return "\n\n".join(f"[{message.role}]\n{_written(message)}" for message in messages)


def _written(message: Message) -> str:
    lines: dict[type, Callable[..., str]] = {
        Text: lambda part: part.text,
        Thinking: lambda part: "",
        Call: lambda part: f"called {part.name} {bounded(part.arguments, SHORT_CHARS)}",
        Result: lambda part: bounded(part.text, SHORT_CHARS),
        Image: lambda part: f"showed the picture {part.name}",
    }
    return "\n".join(filter(None, (lines[type(part)](part) for part in message.parts)))


def _digest(messages: Sequence[Message]) -> str:
    """What a program can say about the turns: which tools were called with what."""
    calls = [call for message in messages for call in message.calls]
    lines = [f"- {call.name} {bounded(call.arguments, 200)}" for call in calls]
    return bounded("Tools called, oldest first:\n" + "\n".join(lines), SHORT_CHARS)
