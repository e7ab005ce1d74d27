"""What a conversation says while it goes on, what bounds it, and how it ends."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from workers.llm.base import Call, Reply, Result, Shape


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
class Replied:
    """A whole reply; `context_used` counts the tokens of the conversation so far."""

    turn: int
    reply: Reply
    seconds: float
    context_used: int


@dataclass(frozen=True)
class Called:
    """A tool is about to run."""

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

    `summary` is empty and `reply` None when shortening old tool results was enough.
    """

    before: int
    after: int
    summary: str = ""
    reply: Reply | None = None
    seconds: float = 0.0


@dataclass(frozen=True)
class Nudged:
    """The platform said something to the model on its own account."""

    text: str


Event = TurnStarted | Spoke | Replied | Called | Returned | Compacted | Nudged


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

    `declared` are the outputs the step owes.
    """

    max_turns: int = 999
    max_output_tokens: int = 32_768
    temperature: float | None = None
    thinking_level: str = "off"
    auto_continuations: int = 50
    declared: tuple[str, ...] = ()
    shape: Shape | None = None
    silence: float = 180.0
