"""Where a run stands after its outcomes so far: one frozen value, and the chart it moves on.

What changes with every outcome is a named tuple: replacing a field costs a quarter of what it
does on a frozen dataclass, and a run is replayed whole at every step.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

from models.definitions import Definition, StepSpec
from models.grammar_graph import continued, final_steps
from workers.pipelines.decisions import Caps, LoopView, Notice, NoticeKind

NOTHING: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True)
class Chart:
    """A definition with the questions about its graph answered once."""

    definition: Definition
    caps: Caps

    @cached_property
    def steps(self) -> Mapping[str, StepSpec]:
        return {step.id: step for step in self.definition.steps}

    @cached_property
    def final(self) -> set[str]:
        return final_steps(self.definition)

    @cached_property
    def continued(self) -> set[str]:
        return continued(self.steps)


@dataclass(frozen=True)
class LoopItem:
    """One item of a loop; `output` is the JSON of the closing step's outputs, or the error."""

    id: str
    index: int
    value: str
    status: Literal["pending", "completed", "failed"] = "pending"
    output: str | None = None


class LoopState(NamedTuple):
    """A loop as it stands; `current_index` equals the number of items when none is left."""

    step_id: str
    items: tuple[LoopItem, ...]
    current_index: int = 0

    @property
    def current(self) -> LoopItem:
        return self.items[self.current_index]


class Frame(NamedTuple):
    """A loop that is going on, with what its next item starts from.

    `relisted` says that a step which declares the loop's list has written it anew meanwhile.
    """

    loop: str
    outputs: Mapping[str, str]
    arrivals: Mapping[str, int]
    relisted: bool = False


class Place(NamedTuple):
    """The execution that is due; `unmatched` is 1 after a result that nobody expected."""

    step_id: str
    retry: int = 0
    feedback: tuple[str, ...] = ()
    unmatched: int = 0


class State(NamedTuple):
    """A run between two outcomes: at a place, finished, or broken (step id, error)."""

    place: Place | None = None
    finished: bool = False
    broken: tuple[str, str] | None = None
    outputs: Mapping[str, str] = NOTHING  # the latest value of each key
    handed_over: Mapping[str, str] = NOTHING  # by the last success alone
    visits: Mapping[str, int] = NOTHING
    arrivals: Mapping[str, int] = NOTHING
    executions: Mapping[str, int] = NOTHING
    frames: tuple[Frame, ...] = ()
    loops: Mapping[str, LoopState] = NOTHING
    notices: tuple[Notice, ...] = ()

    @property
    def loop(self) -> LoopView | None:
        """The innermost loop that is going on."""
        if not self.frames:
            return None
        loop = self.loops[self.frames[-1].loop]
        done = tuple(item.value for item in loop.items if item.status == "completed")
        total = len(loop.items)
        return LoopView(loop.step_id, loop.current_index, total, loop.current.value, done)

    def noticing(self, kind: NoticeKind, step_id: str, **data: Any) -> State:
        return self._replace(notices=(*self.notices, Notice(kind, step_id, data)))

    def breaking(self, step_id: str, error: str) -> State:
        return self._replace(place=None, broken=(step_id, error))


# A state on its way: the step to enter next, or None when the state has come to rest.
Move = tuple[State, str | None]


def increased(counts: Mapping[str, int], key: str) -> dict[str, int]:
    return {**counts, key: counts.get(key, 0) + 1}
