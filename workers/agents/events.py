"""What a conversation says while it goes on, what it may be told, what bounds it, how it ends.

A conversation is a generator. Whoever drives it may answer `Asking` and `Called` with what is
already known; then the model is not asked and the tool does not run.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeVar

from workers.llm.base import Call, Message, Options, Overflow, Reply, Result, Shape, ToolSpec

T = TypeVar("T")


@dataclass(frozen=True)
class TurnStarted:
    """The model is about to be asked for the `turn`-th time (from 1)."""

    turn: int


@dataclass(frozen=True)
class Spoke:
    """A piece of the reply as it streams; calls are announced by Called."""

    kind: Literal["text", "thinking", "call"]
    text: str


@dataclass(frozen=True)
class Asking:
    """A model is about to be asked this; may be told an Answer, an Overflow, or other Options."""

    messages: Sequence[Message]
    tools: Sequence[ToolSpec]
    options: Options


@dataclass(frozen=True)
class Overflowed:
    """The model said that what it was asked does not fit its window; `unpaid` as in ModelError."""

    message: str
    unpaid: bool = False


@dataclass(frozen=True)
class Answer:
    """What a model answered; `context_used` counts the tokens of the conversation so far."""

    reply: Reply
    seconds: float
    context_used: int


@dataclass(frozen=True)
class Replied:
    """An agent's model has answered; `known` says that the answer came from the driver."""

    turn: int
    answer: Answer
    known: bool = False


@dataclass(frozen=True)
class Called:
    """A tool is about to run; may be told its Result."""

    call: Call
    turn: int


@dataclass(frozen=True)
class Returned:
    """A tool has answered."""

    call: Call
    result: Result
    seconds: float


@dataclass(frozen=True)
class Compacted:
    """The conversation was shortened from `before` to `after` tokens (estimates).

    `summary` is empty and `answer` None when shortening old tool results was enough; `known` as in
    Replied.
    """

    before: int
    after: int
    summary: str = ""
    answer: Answer | None = None
    known: bool = False


@dataclass(frozen=True)
class Nudged:
    """The platform said something to the model on its own account."""

    text: str


Event = TurnStarted | Asking | Overflowed | Spoke | Replied | Called | Returned | Compacted | Nudged
Known = Answer | Overflow | Options | Result | None  # what a driver may tell
Talk = Generator[Event, Known, T]


@dataclass(frozen=True)
class Ending:
    """How a conversation ended: `text` means without a lifecycle tool, yet with all it owed."""

    kind: Literal["completed", "failed", "text"]
    outputs: dict[str, str] = field(default_factory=dict)
    summary: str = ""
    error: str = ""

    @property
    def succeeded(self) -> bool:
        return self.kind != "failed"


@dataclass(frozen=True)
class Limits:
    """What a conversation may take; with a `shape` it is one constrained answer, no tools.

    `declared` are the outputs the step owes; where it is `open_ended` it owes nothing and ends when
    the model calls nothing more.
    """

    max_turns: int = 999
    max_output_tokens: int = 32_768
    temperature: float | None = None
    thinking_level: str = "off"
    auto_continuations: int = 50
    declared: tuple[str, ...] = ()
    shape: Shape | None = None
    silence: float = 180.0
    open_ended: bool = False
