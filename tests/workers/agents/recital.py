"""A model that recites: it says its lines in order and remembers what it heard."""

from __future__ import annotations

import json
from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from workers.halting import Halt
from workers.llm.base import (
    Call,
    Delta,
    Message,
    ModelError,
    Options,
    Part,
    Reply,
    Text,
    ToolSpec,
    Usage,
)

Line = Reply | ModelError


@dataclass
class Heard:
    messages: tuple[Message, ...]
    tools: tuple[ToolSpec, ...]
    options: Options


@dataclass
class Reciter:
    """Says its lines one after another; the last one again and again."""

    lines: Sequence[Line]
    window: int = 128_000
    small: bool = False
    provider: str = "test"
    name: str = "reciter"
    scripted: bool = True
    heard: list[Heard] = field(default_factory=list)

    def reply(
        self,
        messages: Sequence[Message],
        tools: Sequence[ToolSpec],
        options: Options,
        halt: Halt,
    ) -> Generator[Delta, None, Reply]:
        halt.check()
        line = self.lines[min(len(self.heard), len(self.lines) - 1)]
        self.heard.append(Heard(tuple(messages), tuple(tools), options))
        if isinstance(line, ModelError):
            raise line
        for word in line.message.text.split(" "):
            yield Delta("text", word)
        return line


def says(
    text: str,
    calls: Iterable[Call] = (),
    stop: Literal["end", "calls", "length"] | None = None,
    usage: Usage | None = None,
) -> Reply:
    """A reply of a text and calls."""
    made = tuple(calls)
    parts: tuple[Part, ...] = (*((Text(text),) if text else ()), *made)
    ending = stop or ("calls" if made else "end")
    return Reply(Message("assistant", parts), usage or Usage(100, 10), ending, "reciter")


def call(name: str, _id: str = "", **arguments: object) -> Call:
    """A call with well-formed arguments."""
    return Call(_id or f"call_{name}", name, json.dumps(arguments))


def calls(name: str, **arguments: object) -> Reply:
    """A reply that is one call."""
    return says("", [call(name, **arguments)])


def opening(system: str = "You work.", user: str = "Do it.") -> tuple[Message, Message]:
    return Message("system", (Text(system),)), Message("user", (Text(user),))
