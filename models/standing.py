"""Where a run stands: every step of its pinned definition with what came of it so far."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from peewee import SQL, fn

from models.base import now_ms
from models.definitions import StepSpec
from models.errors import NotFound
from models.pipelines import definition_of
from models.runs import OVER, Run
from models.steps import QUEUED, Step

SHOWN = [field for field in Step._meta.sorted_fields if field.name not in {"text", "feedback"}]


@dataclass(frozen=True)
class Standing:
    """One step of a run: its latest execution, how many there were, and all of them on request."""

    run: Run
    spec: StepSpec
    position: int
    latest: Step | None
    iterations: int
    history: Sequence[Step] = ()

    @property
    def status(self) -> str:
        """pending, queued, retrying, running, waiting, completed, failed, cancelled or skipped."""
        if self.latest is not None:
            return status_of(self.latest)
        return "skipped" if self.run.state in OVER else "pending"


def status_of(step: Step) -> str:
    """An execution's state; one that waits for its next try is `retrying`."""
    waits = step.state == QUEUED and step.retry > 0 and step.due_at > now_ms()
    return "retrying" if waits else str(step.state)


def standings(run: Run, history: bool = False) -> list[Standing]:
    """Every step of the run in the pipeline's order; `history` adds all executions ever."""
    mine = (Step.run == run.id) & (Step.attempt == run.attempt) & ~Step.superseded
    newest = Step.select(*SHOWN).where(mine).distinct(Step.step_id)
    latest = {step.step_id: step for step in newest.order_by(Step.step_id, Step.number.desc())}
    tally: Any = Step.select(Step.step_id, fn.count(SQL("*"))).where(mine)
    counts: dict[str, int] = dict(tally.group_by(Step.step_id).tuples())
    past = _all(run) if history else {}
    return [
        Standing(
            run,
            spec,
            position,
            latest.get(spec.id),
            counts.get(spec.id, 0),
            past.get(spec.id, ()),
        )
        for position, spec in enumerate(definition_of(run.version_id).steps)
    ]


def standing(run: Run, key: str) -> Standing:
    """The step that `key` names (its id, or that of one of its executions); NotFound otherwise."""
    for found in standings(run):
        if key in {found.spec.id, f"{run.id}_{found.spec.id}"}:
            return found
    execution = Step.select(*SHOWN).where((Step.run == run.id) & (Step.id == key)).first()
    if execution is None:
        raise NotFound(f"Step {key} not found for run {run.id}")
    spec = definition_of(run.version_id).step(execution.step_id)
    return Standing(run, spec, execution.position, execution, execution.execution)


def text_of(step: Step | None) -> str | None:
    """The last words of an execution."""
    if step is None:
        return None
    row: Any = Step.select(Step.text).where(Step.id == step.id).tuples().first()
    return row[0] if row else None


def _all(run: Run) -> dict[str, list[Step]]:
    """Every execution of every attempt, undone ones too, by step."""
    found: dict[str, list[Step]] = {}
    ordered = Step.select(*SHOWN).where(Step.run == run.id).order_by(Step.attempt, Step.number)
    for step in ordered:
        found.setdefault(step.step_id, []).append(step)
    return found
