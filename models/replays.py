"""What a replay goes by: the executions of the run that it repeats, as its `meta` names them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from models.runs import Run
from models.steps import Step

CURRENT, PINNED = "current", "pinned"  # the definition of today, or that of then


class Recorded(NamedTuple):
    """An execution on record, and of which step it is."""

    execution: str
    step_id: str


class Ended(NamedTuple):
    """How the run on record ended; `outputs` is None where nobody wrote them down."""

    state: str
    error: str | None = None
    outputs: Mapping[str, str] | None = None

    def __str__(self) -> str:
        return f"{self.state} ({self.error})" if self.error else self.state


def meta_of(source: Run, executions: Sequence[Step], definition: str) -> dict[str, Any]:
    """What the `meta` of a replay says of the run it repeats."""
    record = [Recorded(step.id, step.step_id) for step in executions]
    ended = Ended(source.state, source.error, source.outputs)._asdict()
    return {"replay": {"definition": definition, "record": record, **ended}}


def record_of(run: Run) -> list[Recorded]:
    """The executions that a replay repeats, in order."""
    return [Recorded(*pair) for pair in run.meta["replay"]["record"]]


def is_pinned(run: Run) -> bool:
    """Whether it goes by the definition and the prompts of then."""
    return bool(run.meta["replay"]["definition"] == PINNED)


def ended(run: Run) -> Ended:
    """How the run that it repeats ended."""
    told = run.meta["replay"]
    return Ended(told["state"], told["error"], told.get("outputs"))
