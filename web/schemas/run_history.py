"""The history of runs on the wire."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from marshmallow import fields, validate
from peewee import fn

from models.runs import EXECUTOR, OVER, Run
from models.standing import status_of
from models.steps import Step
from web.bodies import LARGEST
from web.resources import PageForm
from web.schemas.base import Free, derived, made

SEEN = (Run.id, Run.state, Run.pipeline_id, Run.project_id, Run.task_id, Run.task_branch)
TOLD = (Run.model_override, Run.outputs, Run.meta, Run.kind, Run.attempt)
COLUMNS = (*SEEN, *TOLD, Run.created_at, Run.started_at, Run.completed_at)
STATUSES = [*Run.state.arrows, "terminal"]
ORDER = ("spawn_executor", "planner_agent_id", "task_id", "memory_injection", "timeout_seconds")
STEP = (Step.run, Step.number, Step.step_id, Step.agent_id, Step.state, Step.error, Step.outputs)
WORKED = (*STEP, Step.started_at, Step.completed_at, Step.retry, Step.due_at, Step.model_used)

PastStep = made(
    "PastStep",
    {
        **derived(Step, "step_id", "agent_id", "error", "started_at", "completed_at", "model_used"),
        **derived(Step, retry_count="retry"),
        "status": fields.String(metadata={"example": "completed"}),
        "outputs": Free(),
    },
)
PastRun = made(
    "PastRun",
    {
        **derived(Run, run_id="id", status="state"),
        **derived(Run, "pipeline_id", "project_id", "task_id", "task_branch", "model_override"),
        **derived(Run, "created_at", "completed_at"),
        "duration_ms": fields.Integer(allow_none=True),
        "outputs": Free(),
        "metadata": Free(allow_none=True, metadata={"example": {"spawn_executor": True}}),
        "steps": fields.List(fields.Nested(PastStep)),
    },
)
History = made(
    "RunHistory",
    {
        "runs": fields.List(fields.Nested(PastRun)),
        "total": fields.Integer(metadata={"description": "How many are in this answer"}),
        "has_more": fields.Boolean(),
    },
)


class HistoryForm(PageForm):
    """Which runs are wanted; `terminal` are those that are over."""

    project_id = fields.String()
    task_id = fields.String()
    agent_id = fields.String()
    status = fields.String(validate=validate.OneOf(STATUSES))
    since = fields.Integer(validate=validate.Range(0, LARGEST))
    limit = fields.Integer(load_default=10, validate=validate.Range(1, 50))
    include_steps = fields.Boolean(load_default=True)


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
    attempts = {run.id: run.attempt for run in found}
    mine = Step.run.in_(list(attempts)) & ~Step.superseded
    steps: dict[str, list[dict[str, Any]]] = {}
    for step in Step.select(Step.attempt, *WORKED).where(mine).order_by(Step.number):
        if step.attempt == attempts[step.run_id]:
            told = {**step.__data__, "status": status_of(step)}
            steps.setdefault(step.run_id, []).append(told)
    return steps


def _worked(agent_id: str) -> Any:
    mine = Step.select().where((Step.run == Run.id) & (Step.agent_id == agent_id))
    return fn.EXISTS(mine)
