"""The history of runs on the wire."""

from __future__ import annotations

from marshmallow import fields, validate

from models.run_history import STATUSES
from models.runs import Run
from models.steps import Step
from web.bodies import LARGEST
from web.resources import PageForm
from web.schemas.base import Free, derived, made

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
