"""Steps on the wire."""

from __future__ import annotations

from typing import Any

from marshmallow import fields, validate

from models.standing import Standing, status_of, text_of
from models.steps import Step
from web.bodies import Form
from web.schemas.base import Free, Milliseconds, derived, made

STATUSES = (
    "pending",
    "queued",
    "running",
    "waiting",
    "retrying",
    "completed",
    "failed",
    "cancelled",
    "skipped",
)

Execution = made(
    "Execution",
    {
        **derived(Step, "id", "step_id", "agent_id", "attempt", "visit", "error"),
        **derived(Step, "max_retries", "session_id", "started_at", "completed_at"),
        **derived(Step, "human_context", "model_used", "commit", "superseded"),
        "run_id": fields.String(),
        "status": fields.String(validate=validate.OneOf(STATUSES), metadata={"example": "running"}),
        "retry_count": fields.Integer(),
        "outputs": Free(),
        "inputs": Free(),
    },
)

StepView = made(
    "StepView",
    {
        **Execution._declared_fields,
        "description": fields.String(),
        "position": fields.Integer(metadata={"description": "Place in the pipeline, from 0"}),
        "iterations": fields.Integer(metadata={"description": "Executions in this attempt"}),
        "executions": fields.List(fields.Nested(Execution)),
    },
)

StepOutput = made(
    "StepOutput",
    {
        "run_id": fields.String(),
        "step_id": fields.String(),
        "status": fields.String(validate=validate.OneOf(STATUSES), metadata={"example": "running"}),
        "outputs": Free(),
        "output": fields.String(allow_none=True),
        "error": fields.String(allow_none=True),
        "completed_at": Milliseconds(allow_none=True),
    },
)

Restarting = made(
    "Restarting",
    {
        "run_id": fields.String(),
        "step_id": fields.String(),
        "status": fields.String(metadata={"example": "restarting"}),
    },
)


class StepsForm(Form):
    """Which steps are wanted."""

    status = fields.String(validate=validate.OneOf(STATUSES))
    history = fields.Boolean(
        load_default=False, metadata={"description": "Every execution of every step too"}
    )


def described(standing: Standing, history: bool = False) -> dict[str, Any]:
    """A step of a run, begun or not."""
    spec, run = standing.spec, standing.run
    latest = standing.latest or Step(
        id=f"{run.id}_{spec.id}",
        run=run.id,
        attempt=run.attempt,
        step_id=spec.id,
        agent_id=spec.agent,
        max_retries=spec.max_retries,
    )
    told = executed(latest) | {
        "status": standing.status,
        "description": spec.description,
        "position": standing.position,
        "iterations": standing.iterations,
    }
    if history:
        told["executions"] = [executed(step) for step in standing.history]
    return told


def executed(step: Step) -> dict[str, Any]:
    """One execution."""
    return {
        **{name: getattr(step, name) for name in _COLUMNS},
        "run_id": step.run_id,
        "status": status_of(step),
        "retry_count": step.retry,
    }


_COLUMNS = [name for name in Execution._declared_fields if name in Step._meta.fields]


def output_of(standing: Standing) -> dict[str, Any]:
    """What a step handed over, and its agent's last words."""
    told = described(standing)
    return {
        **{name: told[name] for name in ("run_id", "step_id", "status", "outputs", "error")},
        "completed_at": told["completed_at"],
        "output": text_of(standing.latest),
    }
