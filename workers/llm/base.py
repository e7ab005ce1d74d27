"""What every model is: values that go in, values that come out, and the four ways it can fail."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from workers.halting import Halt

MOST_TOKENS = 100_000_000  # more than any call has, and few enough for the rows that add them up


@dataclass(frozen=True)
class Text:
    text: str


@dataclass(frozen=True)
class Thinking:
    """Reasoning the provider showed; `signature` (or `redacted` data) must go back unchanged."""

    text: str
    signature: str | None = None
    redacted: str | None = None


@dataclass(frozen=True)
class Call:
    """A tool call; `arguments` is the JSON text exactly as the model wrote it.

    `signature` is the provider's own mark on the call, which must go back unchanged.
    """

    id: str
    name: str
    arguments: str
    signature: str | None = None


@dataclass(frozen=True)
class Result:
    """What a tool answered to the call with `call_id`."""

    call_id: str
    text: str
    is_error: bool = False


@dataclass(frozen=True)
class Image:
    """A picture that somebody attached, by where its bytes are: no ledger holds them."""

    attachment_id: str
    digest: str
    media_type: str
    name: str


Part = Text | Thinking | Call | Result | Image


@dataclass(frozen=True)
class Message:
    """One turn of the conversation; tool results travel in a message of role `tool`."""

    role: Literal["system", "user", "assistant", "tool"]
    parts: tuple[Part, ...]

    @property
    def text(self) -> str:
        return "".join(part.text for part in self.parts if isinstance(part, Text))

    @property
    def calls(self) -> tuple[Call, ...]:
        return tuple(part for part in self.parts if isinstance(part, Call))


@dataclass(frozen=True)
class Usage:
    """Tokens of one reply. `input` counts everything sent, cached or not.

    `approximate` says that the provider sent no figures and these were estimated from the text.
    """

    input: int = 0
    output: int = 0
    cache_read: int = 0
    cache_write: int = 0
    thinking: int = 0
    approximate: bool = False

    @property
    def told(self) -> bool:
        """Whether the provider told anything."""
        return bool(self.input or self.output)


def counted(told: Any) -> int:
    """Tokens as a provider told them: 0 where that is no number, or none that a call can have."""
    return int(told) if isinstance(told, int | float) and 0 <= told <= MOST_TOKENS else 0


@dataclass(frozen=True)
class Reply:
    """A whole answer: its message, what it used, and why it stopped."""

    message: Message
    usage: Usage
    stop: Literal["end", "calls", "length"]
    model: str
    request_id: str | None = None


@dataclass(frozen=True)
class ToolSpec:
    """A tool as the model sees it; `parameters` is a JSON Schema object."""

    name: str
    description: str
    parameters: dict[str, Any]


@dataclass(frozen=True)
class Shape:
    """The JSON Schema an answer must have, and how to ask the provider for it."""

    name: str
    schema: dict[str, Any]
    strict: bool = True
    method: Literal["response_format", "tool_use"] = "response_format"


@dataclass(frozen=True)
class Options:
    """How to answer. Times are seconds; `silence` is the longest pause between two chunks."""

    max_output_tokens: int = 32_768
    temperature: float | None = None
    thinking_level: str = "off"
    shape: Shape | None = None
    silence: float = 180.0


@dataclass(frozen=True)
class Delta:
    """A piece of a reply while it streams."""

    kind: Literal["text", "thinking", "call"]
    text: str


class Model(Protocol):
    """One model of one provider, ready to answer."""

    provider: str
    name: str  # without the provider
    window: int  # tokens
    small: bool  # asks for its outputs under a grammar instead of offering tools
    scripted: bool

    def reply(
        self,
        messages: Sequence[Message],
        tools: Sequence[ToolSpec],
        options: Options,
        halt: Halt,
    ) -> Generator[Delta, None, Reply]:
        """Stream one answer; raises ModelError, or Stopped when `halt` is raised meanwhile."""
        ...


class ModelError(Exception):
    """The model gave no usable answer.

    `transient`: the same may well work later; `final`: no repeating changes it, a person must.
    `unpaid`: the provider was not reached or refused at once, so it takes nothing for it.
    """

    transient = False
    final = False
    unpaid = False


@dataclass
class Throttled(ModelError):
    """The provider asks to wait `after` seconds (None: it did not say how long)."""

    message: str
    after: float | None = None
    transient = True

    def __str__(self) -> str:
        return self.message


class Unavailable(ModelError):
    """The provider cannot be reached, failed, fell silent or cut its answer short."""

    transient = True


class Overflow(ModelError):
    """The conversation is longer than the model's context window."""


class Refused(ModelError):
    """The provider or the model declined to answer this."""


class Denied(Refused):
    """It declines whatever it is asked: a wrong key or none, no credit, no such model."""

    final = True


@dataclass(frozen=True)
class Price:
    """US dollars for one reply; all None when no price is known."""

    input: float | None = None
    output: float | None = None
    total: float | None = None
    approximate: bool = field(default=True)
