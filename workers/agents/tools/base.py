"""What every tool is: a spec for the model and a function over the step's workbench."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from models.masking import without
from workers.agents.mandate import Mandate
from workers.agents.tools.tree import Tree
from workers.halting import Halt
from workers.llm.base import ToolSpec
from workers.sandboxes.base import Hear, Sandbox
from workers.workspaces import Saved

OUTPUT_CHARS = 30_000


class ToolError(Exception):
    """The tool could not do it; the message goes back to the model, so it says what to do."""


@dataclass(frozen=True)
class Verdict:
    """How the agent itself ended its step."""

    kind: Literal["completed", "failed"]
    outputs: dict[str, str] = field(default_factory=dict)
    summary: str = ""
    error: str = ""


class Awaited(Exception):
    """The tool delegates: the step lets go of its worker until what it asks for has ended."""

    def __init__(self, kind: Literal["swarm", "executor"], arguments: dict[str, Any]) -> None:
        super().__init__(kind)
        self.kind = kind
        self.arguments = arguments
        self.asked_by = ""  # the act, by the name it keeps when it is tried again
        self.base: Saved | None = None  # the files that those who do the work begin with


class Ear(Protocol):
    """Whoever listens to what tools print while they work."""

    def begins(self, call: Mapping[str, Any]) -> None:
        """A tool is about to run, which is called that."""

    def hear(self, piece: str) -> None:
        """It has printed this."""

    def ends(self) -> None:
        """It has answered."""


@dataclass(frozen=True)
class Bench:
    """What a step's tools work on; `declared` are the outputs its pipeline asks for.

    `contained` says that commands can change nothing but the tree: no network, no other files.
    `hidden` are texts that no tool may answer with, `mandate` is there where tools change rows,
    `ear` where somebody may watch them.
    """

    tree: Tree
    sandbox: Sandbox
    declared: tuple[str, ...] = ()
    contained: bool = False
    hidden: tuple[str, ...] = field(default=(), repr=False)
    mandate: Mandate | None = None
    ear: Ear | None = None

    @property
    def hear(self) -> Hear | None:
        """What is to be told of commands while they run."""
        return self.ear.hear if self.ear is not None else None

    def blotted(self, text: str) -> str:
        """`text` without what the agent may use but not see."""
        return without(text, self.hidden)


Answer = str | Verdict

# What a tool changes: nothing, the tree alone, rows (once, however often it is tried), who knows
# what, or it has others do something.
Effect = Literal["none", "tree", "rows", "world", "delegation"]


@dataclass(frozen=True)
class Tool:
    """One tool; `act` gets checked arguments and may raise ToolError or Awaited."""

    spec: ToolSpec
    act: Callable[[Bench, dict[str, Any], Halt], Answer]
    lifecycle: bool = False
    effect: Effect = "none"

    @property
    def name(self) -> str:
        return self.spec.name


def described(name: str, description: str, /, **parameters: dict[str, Any]) -> ToolSpec:
    """A spec whose parameters are required unless they carry a `default`."""
    required = [key for key, schema in parameters.items() if "default" not in schema]
    return ToolSpec(
        name, description, {"type": "object", "properties": parameters, "required": required}
    )


def text(description: str, **more: object) -> dict[str, Any]:
    """The schema of a string parameter."""
    return {"type": "string", "description": description, **more}


def number(description: str, default: int, **more: object) -> dict[str, Any]:
    """The schema of an optional whole number of at least 1."""
    more = {"minimum": 1, **more}
    return {"type": "integer", "description": description, "default": default, **more}


def flag(description: str) -> dict[str, Any]:
    """The schema of a switch that is off unless said otherwise."""
    return {"type": "boolean", "description": description, "default": False}


def bounded(answer: str, limit: int = OUTPUT_CHARS) -> str:
    """`answer`, or its head and tail with a line that says how much was cut between them."""
    if len(answer) <= limit:
        return answer
    half = limit // 2
    cut = len(answer) - 2 * half
    return f"{answer[:half]}\n[... {cut} characters cut ...]\n{answer[-half:]}"


def tidy(words: str) -> str:
    """`words` without what JSON over HTTP and Postgres refuse: NUL and lone surrogates."""
    return words.replace("\0", "\N{SYMBOL FOR NULL}").encode(errors="replace").decode()
