"""What the engine is told and what it answers: frozen values, nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

NoticeKind = Literal[
    "loop_item_complete", "loop_item_failed", "step_retrying", "agent_message", "warning"
]


@dataclass(frozen=True)
class Outcome:
    """How one execution of a step ended; `final` says that no repeating would change it."""

    step_id: str
    succeeded: bool
    outputs: Mapping[str, str] = field(default_factory=dict)
    error: str = ""
    final: bool = False


@dataclass(frozen=True)
class Notice:
    """Something the last outcome brought about that others want to hear of."""

    kind: NoticeKind
    step_id: str
    data: Mapping[str, Any]


@dataclass(frozen=True)
class LoopView:
    """Where the innermost loop stands; items are texts, objects as JSON text. `index` from 0."""

    step_id: str
    index: int
    total: int
    item: str
    completed: tuple[str, ...]


@dataclass(frozen=True)
class Dispatch:
    """Execute this step next.

    `visit` and `execution` count from 1 over the whole run, `retry` from 0 within the visit.
    `outputs` is what all earlier steps handed over, the latest value of each key.
    """

    step_id: str
    visit: int
    retry: int
    execution: int
    feedback: tuple[str, ...] = ()
    outputs: Mapping[str, str] = field(default_factory=dict)
    loop: LoopView | None = None
    notices: tuple[Notice, ...] = ()


@dataclass(frozen=True)
class Finished:
    """The run is over and good."""

    outputs: Mapping[str, str]
    notices: tuple[Notice, ...] = ()


@dataclass(frozen=True)
class Failed:
    """The run is over; `step_id` is where it broke ("" when no step is to blame)."""

    error: str
    step_id: str
    notices: tuple[Notice, ...] = ()
    outputs: Mapping[str, str] = field(default_factory=dict)


Decision = Dispatch | Finished | Failed


@dataclass(frozen=True)
class Caps:
    """Where cycling ends.

    `executions` per run; `visits` per step, counted anew for each item of a loop around it (a
    list of forty items is work, not a cycle).
    """

    executions: int = 200
    visits: int = 25
