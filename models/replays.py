"""What a replay goes by: the executions of the run that it repeats, as its `meta` names them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from models.runs import Run
from models.steps import Step

CURRENT, PINNED = "current", "pinned"  # the definition of today, or that of then


class Recorded(NamedTuple):
    """An execution on record, and of which step it is."""

    execution: str
    step_id: str


def meta_of(source: Run, executions: Sequence[Step], definition: str) -> dict[str, Any]:
    """What the `meta` of a replay says of the run it repeats."""
    record = [Recorded(step.id, step.step_id) for step in executions]
    ended = {"state": source.state, "error": source.error}
    return {"replay": {"definition": definition, "record": record, **ended}}


def record_of(run: Run) -> list[Recorded]:
    """The executions that a replay repeats, in order."""
    return [Recorded(*pair) for pair in run.meta["replay"]["record"]]


def is_pinned(run: Run) -> bool:
    """Whether it goes by the definition and the prompts of then."""
    return bool(run.meta["replay"]["definition"] == PINNED)


def ended(run: Run) -> str:
    """How the run that it repeats ended."""
    state, error = run.meta["replay"]["state"], run.meta["replay"]["error"]
    return f"{state} ({error})" if error else str(state)
