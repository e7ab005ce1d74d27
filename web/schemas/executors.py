"""Executors on the wire."""

from __future__ import annotations

import time
from typing import Any

from marshmallow import fields, validate

from models.base import db
from models.runs import COMPLETED, EXECUTOR, OVER, PAUSED, Run
from web.bodies import Form, Text, Whole
from web.resources import MOST, PageForm, visible
from web.schemas.base import Free, derived, made
from web.schemas.budgets import BudgetForm
from web.schemas.runs import LONGEST_TASK
from web.schemas.swarms import KEYED, LABEL, SECONDS

PAUSE = 0.2  # seconds between two looks
REPORT = ("status", "commit_hashes", "files_changed", "deviations", "blocked_by", "summary")

Spawned = made(
    "ExecutorSpawned",
    {
        "run_id": fields.String(metadata={"example": "pulse_exec_5f0c9a1b2c3d4e5f"}),
        "status": fields.String(metadata={"example": "dispatched"}),
        "pipeline_id": fields.String(metadata={"example": "execute"}),
        "model": fields.String(metadata={"example": "default"}),
        "memory_injection": fields.Boolean(metadata={"example": False}),
    },
)
ExecutorView = made(
    "ExecutorView",
    {
        **derived(Run, run_id="id", status="state"),
        **derived(Run, "error", "agent_id", "project_id", "task_id", "task_branch"),
        **derived(Run, "created_at", "started_at", "completed_at"),
        "pause_reason": fields.String(
            allow_none=True,
            metadata={
                "example": None,
                "description": "Why a paused executor is: asked | budget_reached",
            },
        ),
        "success": fields.Boolean(allow_none=True),
        "outputs": Free(metadata={"example": {"status": "success", "summary": "Done"}}),
        "summary": fields.String(allow_none=True),
        "model": fields.String(metadata={"example": "default"}),
        "duration_ms": fields.Integer(allow_none=True),
    },
)
ExecutorRun = made(
    "ExecutorRun",
    {
        **derived(Run, "model_override", "task_branch", "created_at", "completed_at"),
        **derived(Run, run_id="id", status="state"),
        "outputs": Free(),
    },
)
ExecutorRuns = made(
    "ExecutorRuns",
    {
        "task_id": fields.String(),
        "project_id": fields.String(),
        "count": fields.Integer(),
        "runs": fields.List(fields.Nested(ExecutorRun)),
    },
)


class SpawnForm(BudgetForm):
    """An order for one executor, and what it may spend."""

    agent_id = Text(required=True, validate=LABEL)
    project_id = Text(required=True, validate=LABEL)
    task_id = Text(required=True, validate=LABEL)
    execution_prompt = Text(required=True, validate=validate.Length(max=LONGEST_TASK))
    deviation_rules = fields.String(load_default="", validate=validate.Length(max=LONGEST_TASK))
    model_override = fields.String(allow_none=True, validate=validate.Length(max=256))
    timeout_seconds = Whole(load_default=300, validate=SECONDS, metadata={"example": 300})
    swarm_task_key = fields.String(allow_none=True, validate=KEYED, metadata={"example": None})


class WaitForm(Form):
    """How long to wait for the end of an executor before answering."""

    wait = fields.Float(
        load_default=0, validate=validate.Range(0, 30), metadata={"description": "Seconds"}
    )


class RecentForm(PageForm):
    """How many of the newest are wanted."""

    limit = fields.Integer(load_default=10, validate=validate.Range(0, MOST))


def spawned(run: Run) -> dict[str, Any]:
    """The answer to whoever asked for an executor."""
    return {
        "run_id": run.id,
        "status": "dispatched",
        "pipeline_id": run.pipeline_id,
        "model": run.model_override or "default",
        "memory_injection": run.meta["memory_injection"],
    }


def awaited(run_id: str, seconds: float) -> dict[str, Any]:
    """The executor as it stands when it is over or the time is up; NotFound for another run.

    The database connection is somebody else's meanwhile.
    """
    run = visible(Run, run_id)
    if run.kind != EXECUTOR:
        raise Run.missing(run_id)
    if not (run.active and seconds):
        return _told(run)
    deadline = time.monotonic() + seconds
    while _at_work(run_id) and time.monotonic() < deadline:
        db.close()
        time.sleep(PAUSE)
    return _told(visible(Run, run_id))  # who waits may see it no longer


def _at_work(run_id: str) -> bool:
    return any(run.active for run in Run.read("SELECT state FROM runs WHERE id = %s", run_id))


def _told(run: Run) -> dict[str, Any]:
    over = run.state in OVER
    report = dict.fromkeys(REPORT, "") if "status" in run.outputs else {}
    taken = (run.completed_at or 0) - (run.started_at or run.created_at)
    return {
        **run.__data__,
        "project_id": run.project_id or run.meta.get("project_id"),
        "pause_reason": run.pause_reason if run.state == PAUSED else None,
        "success": run.state == COMPLETED if over else None,
        "outputs": report | run.outputs,
        "summary": run.outputs.get("summary"),
        "model": run.model_override or "default",
        "duration_ms": taken if over else None,
    }


FILTERS = {
    "kind": Run.kind.__eq__,
    "project_id": Run.project_id.__eq__,
    "task_id": Run.task_id.__eq__,
}


def listed(run: Run) -> dict[str, Any]:
    """An executor as lists show it."""
    return dict(run.__data__)
