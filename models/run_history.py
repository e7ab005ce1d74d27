"""What runs came to, as agents and programs look back on them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from peewee import fn

from models.runs import EXECUTOR, OVER, Run
from models.standing import status_of
from models.steps import Step

SEEN = (Run.id, Run.state, Run.pipeline_id, Run.project_id, Run.task_id, Run.task_branch)
TOLD = (Run.model_override, Run.outputs, Run.meta, Run.kind)
COLUMNS = (*SEEN, *TOLD, Run.created_at, Run.started_at, Run.completed_at)
STATUSES = [*Run.state.arrows, "terminal"]
ORDER = ("spawn_executor", "planner_agent_id", "task_id", "memory_injection", "timeout_seconds")
STEP = (Step.run, Step.number, Step.step_id, Step.agent_id, Step.state, Step.error, Step.outputs)
WORKED = (*STEP, Step.started_at, Step.completed_at, Step.retry, Step.due_at, Step.model_used)
FILTERS = {
    "project_id": Run.project_id.__eq__,
    "task_id": Run.task_id.__eq__,
    "agent_id": lambda agent_id: (Run.agent_id == agent_id) | _worked(agent_id),
    "status": lambda status: Run.state.in_(OVER if status == "terminal" else [status]),
    "since": Run.created_at.__ge__,
}


def history(found: Sequence[Run], more: bool, include_steps: bool) -> dict[str, Any]:
    """These runs, with what each of their steps came to, and whether there are `more`."""
    steps = _steps(found) if include_steps else {}
    runs = [_past(run, steps.get(run.id, [])) for run in found]
    return {"runs": runs, "total": len(runs), "has_more": more}


def _past(run: Run, steps: list[dict[str, Any]]) -> dict[str, Any]:
    order = {key: run.meta[key] for key in ORDER if key in run.meta}
    taken = run.completed_at and run.completed_at - (run.started_at or run.created_at)
    return {
        **run.__data__,
        "duration_ms": taken,
        "metadata": order if run.kind == EXECUTOR else None,
        "steps": steps,
    }


def _steps(found: Sequence[Run]) -> dict[str, list[dict[str, Any]]]:
    """The executions that count in each run's attempt, in order."""
    mine = Step.run.in_([run.id for run in found]) & ~Step.superseded
    counting = Step.select(*WORKED).join(Run).where(mine & (Step.attempt == Run.attempt))
    steps: dict[str, list[dict[str, Any]]] = {}
    for step in counting.order_by(Step.number):
        told = {**step.__data__, "status": status_of(step)}
        steps.setdefault(step.run_id, []).append(told)
    return steps


def _worked(agent_id: str) -> Any:
    mine = Step.select().where((Step.run == Run.id) & (Step.agent_id == agent_id))
    return fn.EXISTS(mine)
