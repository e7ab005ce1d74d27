"""Runs on the wire."""

from __future__ import annotations

from typing import Any

from flask import current_app, g
from marshmallow import Schema, fields, pre_load, validate
from marshmallow.utils import get_value

from models import budgets, settings
from models.config import Settings
from models.pipelines import definition_of
from models.projects import Project
from models.replays import CURRENT, PINNED
from models.runs import OVER, PAUSED, Run
from models.standing import standings
from web.bodies import LARGEST, Form, Text
from web.resources import PageForm, visible
from web.schemas.base import Free, Milliseconds, derived, made, opened
from web.schemas.budgets import BudgetForm, BudgetView
from web.schemas.steps import StepView, described

STATES = list(Run.state.arrows)
LONGEST_TASK = 200_000


class Scripted(fields.Boolean):
    """Whether a model that works is the scripted one, which only plays a part."""

    def serialize(self, attr: str, obj: Any, accessor: Any = None, **kwargs: Any) -> bool:
        override, version = (get_value(obj, name) for name in ("model_override", "version_id"))
        models = [override] if override else models_of(version)
        return any(model.startswith("scripted/") for model in models)


def models_of(version_id: str) -> list[str]:
    """The models that work on the steps of a pipeline version: the step's, the agent's, ours."""
    if "agent_models" not in g:
        g.agent_models, g.default_model = settings.models()
    return [
        step.model or g.agent_models.get(step.agent) or g.default_model
        for step in definition_of(version_id).steps
    ]


RunItem = made(
    "RunItem",
    {
        **derived(Run, "id", "pipeline_id", "project_id", "project_name", "task"),
        **derived(Run, task_description="task", status="state"),
        **derived(Run, "current_step", "attempt", "human_context", "error", "key_resolution"),
        **derived(Run, "model_override", "task_id", "task_branch", "kind", "origin_id"),
        **derived(Run, "quarantined"),
        **derived(Run, "created_at", "updated_at", "started_at", "completed_at"),
        **derived(Run, initiated_by_user_id="owner_id"),
        "outputs": Free(),
        "scripted": Scripted(attribute="version"),
    },
)

RunSummary = made(
    "RunSummary", {k: field for k, field in RunItem._declared_fields.items() if k != "outputs"}
)

RunDetail = made(
    "RunDetail",
    {
        **RunItem._declared_fields,
        **derived(Run, "workspace_type", "workspace_commit", "workspace_snapshot"),
        **derived(Run, key_user_id="owner_id"),
        "workspace_path": fields.String(
            allow_none=True,
            metadata={"description": "The folder, when this machine has it", "example": None},
        ),
        "workspace_exists": fields.Boolean(),
        "workspace_has_git": fields.Boolean(),
        "budget": fields.Nested(BudgetView, allow_none=True),
        "pause_reason": fields.String(
            allow_none=True,
            metadata={"description": "Why a paused run is: asked | budget_reached"},
        ),
        "steps": fields.List(fields.Nested(StepView)),
    },
)


def detailed(run: Run, history: bool = False) -> dict[str, Any]:
    """A run with its steps and where its files are."""
    ours: Settings = current_app.extensions["settings"]
    tree = ours.data / "workspaces" / run.id / "tree"
    return {
        **run.__data__,
        "version_id": run.version_id,
        "workspace_path": str(tree) if tree.is_dir() else None,
        "workspace_exists": run.workspace_commit is not None,
        "workspace_has_git": run.workspace_commit is not None,
        "budget": budgets.of_run(run),
        "pause_reason": run.pause_reason if run.state == PAUSED else None,
        "steps": [described(standing, history) for standing in standings(run, history)],
    }


class RunForm(BudgetForm):
    """A request for a run. `task` and `context` are the older names of two keys."""

    pipeline_id = Text(required=True, validate=validate.Length(max=128))
    task = Text(
        required=True, data_key="task_description", validate=validate.Length(max=LONGEST_TASK)
    )
    human_context = fields.String(allow_none=True, validate=validate.Length(max=LONGEST_TASK))
    project_name = fields.String(allow_none=True, validate=validate.Length(max=256))
    project_id = fields.String(
        allow_none=True, validate=validate.Length(max=128), metadata={"example": None}
    )
    model_override = fields.String(allow_none=True, validate=validate.Length(max=256))

    @pre_load
    def older_names(self, data: Any, **_: Any) -> Any:
        if not isinstance(data, dict):
            return data
        older = {"task_description": "task", "human_context": "context"}
        said = {new: data[old] for new, old in older.items() if new not in data and old in data}
        return data | said


def refuse_unknown_project(form: dict[str, Any]) -> None:
    """Raise NotFound when the form names a project that the caller does not see."""
    if form.get("project_id") is not None:
        visible(Project, form["project_id"], Project.id)


class RunFilter(Form):
    """Which runs are meant."""

    pipeline_id = fields.String()
    project_id = fields.String()
    state = fields.String(data_key="status", validate=validate.OneOf(STATES))
    before = fields.Integer(
        validate=validate.Range(0, LARGEST),
        metadata={"description": "Created before this moment (ms)"},
    )


class RunsForm(PageForm, RunFilter):
    """A page of runs; `fields=summary` leaves out their outputs."""

    fields_ = fields.String(data_key="fields", validate=validate.OneOf(["summary", "all"]))


FILTERS = {
    "pipeline_id": Run.pipeline_id.__eq__,
    "project_id": Run.project_id.__eq__,
    "state": Run.state.__eq__,
    "before": Run.created_at.__lt__,
}


def shape_of(form: dict[str, Any]) -> type[Schema]:
    """What of each run a list shows."""
    return RunSummary if form.get("fields_") == "summary" else RunItem


class EndedRunsForm(Form):
    """Which ended runs to delete."""

    status = fields.String(validate=validate.OneOf(list(OVER)))
    before = fields.Integer(validate=validate.Range(0, LARGEST))


class NoteForm(Form):
    """What a person wants to say with a restart."""

    context = fields.String(allow_none=True, validate=validate.Length(max=LONGEST_TASK))


class ForkForm(BudgetForm):
    """What a fork does otherwise than the run it begins with, and what it may spend itself."""

    from_step = fields.String(
        allow_none=True,
        validate=validate.Length(1, 128),
        metadata={"description": "A step or an execution; by default the last one worked on"},
    )
    model_override = fields.String(allow_none=True, validate=validate.Length(max=256))
    human_context = fields.String(allow_none=True, validate=validate.Length(max=LONGEST_TASK))


class ReplayForm(Form):
    """Whose definition a replay goes by: the pipeline and agents of today, or those of then."""

    definition = fields.String(load_default=CURRENT, validate=validate.OneOf([CURRENT, PINNED]))


class DetailForm(Form):
    """How much of a run is wanted."""

    history = fields.Boolean(
        load_default=False, metadata={"description": "Every execution of every step too"}
    )


class PauseForm(Form):
    """`now` interrupts the step under way, `step` lets it finish."""

    mode = fields.String(load_default="step", validate=validate.OneOf(["step", "now"]))


class DeleteForm(Form):
    """`force` cancels a run that is not over yet."""

    force = fields.Boolean(load_default=False)


class LogsForm(Form):
    """Which part of a run's history is wanted."""

    since = fields.String(metadata={"description": "After the event with this id"})
    limit = fields.Integer(load_default=1000, validate=validate.Range(0, 10_000))
    names = fields.String(validate=validate.OneOf(["reference", "legacy"]))


class KeyForm(Form):
    """The same key and body give the same run for 24 hours."""

    key = fields.String(
        data_key="Idempotency-Key", load_default=None, validate=validate.Length(1, 255)
    )


Changed = made("Changed", {"run_id": fields.String(), "status": fields.String()})
Resumed = made("Resumed", {**Changed._declared_fields, "requeued_steps": fields.Integer()})
Deleted = made(
    "Deleted",
    {"status": fields.String(metadata={"example": "deleted"}), "run_id": fields.String()},
)
ManyDeleted = made(
    "ManyDeleted",
    {"status": fields.String(metadata={"example": "deleted"}), "count": fields.Integer()},
)
LogEntry = opened(
    "LogEntry",
    {
        "id": fields.String(metadata={"example": "17"}),
        "type": fields.String(metadata={"example": "step_started"}),
        "legacyType": fields.String(metadata={"example": "STEP_STARTED"}),
        "runId": fields.String(),
        "timestamp": Milliseconds(),
    },
)
