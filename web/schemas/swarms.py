"""Swarms on the wire."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from flask import g
from marshmallow import fields, validate

from models import branches, budgets, dag, runs, swarms
from models.board import Task
from models.projects import Project
from models.runs import Run
from models.swarms import Swarm, SwarmTask
from web.bodies import Form, Text, Whole
from web.resources import PageForm, visible
from web.schemas.base import Free, derived, made
from web.schemas.budgets import BudgetForm, BudgetView
from web.schemas.runs import LONGEST_TASK

LABEL = validate.Length(1, 128)
KEYED = validate.Regexp(branches.KEY, error=f"Must be {branches.KEY_IN_WORDS}.")
SECONDS = validate.Range(30, 600)
STATUSES = list(SwarmTask.state.arrows)
SHOWN = [state for state in Swarm.state.arrows if state != swarms.MERGING]

TaskView = made(
    "SwarmTaskView",
    {
        **derived(SwarmTask, "key", "title", "task_id", "project_id", "run_id", "branch", "commit"),
        **derived(SwarmTask, "error", "started_at", "completed_at"),
        "status": fields.String(metadata={"example": "running"}),
        "pause_reason": fields.String(
            allow_none=True,
            metadata={
                "example": None,
                "description": "Why its run is paused: asked | budget_reached. The task stays"
                " running until its run is resumed or the swarm ends",
            },
        ),
        "dependencies": fields.List(fields.String(metadata={"example": "A"})),
        "outputs": Free(allow_none=True, metadata={"example": {"status": "success"}}),
    },
)
SwarmState = made(
    "SwarmState",
    {
        **derived(Swarm, swarm_id="id"),
        **derived(
            Swarm, "agent_id", "max_concurrent", "deadline", "error", parent_run_id="parent_id"
        ),
        **derived(Swarm, "created_at", "updated_at", "started_at", "completed_at"),
        "status": fields.String(metadata={"example": "running"}),
        "tasks": fields.List(fields.Nested(TaskView)),
        **dict.fromkeys(
            ("active_count", "completed_count", "failed_count", "skipped_count", "total_count"),
            fields.Integer(),
        ),
        "summary": Free(allow_none=True, metadata={"example": {"totalTasks": 4, "completed": 4}}),
        "budget": fields.Nested(BudgetView, allow_none=True),
        "merges": fields.List(
            Free(metadata={"example": {"task_id": "T1", "merged": ["feat/T1-A"]}})
        ),
    },
)
SwarmStates = made("SwarmStates", {"swarms": fields.List(fields.Nested(SwarmState))})
Dispatched = made(
    "SwarmDispatched",
    {
        "swarm_id": fields.String(metadata={"example": "swarm_5f0c9a1b2c3d4e5f"}),
        "status": fields.String(metadata={"example": "dispatched"}),
        "total_tasks": fields.Integer(),
        "max_concurrent": fields.Integer(),
        "root_tasks": fields.List(fields.String(metadata={"example": "A"})),
        "max_depth": fields.Integer(metadata={"description": "0 when no task depends on another"}),
        "progress_channel": fields.String(),
    },
)
Cancelling = made(
    "SwarmCancelling",
    {
        "status": fields.String(metadata={"example": "cancel_requested"}),
        "swarm_id": fields.String(),
    },
)


class TaskForm(Form):
    """One task of a swarm."""

    key = fields.String(required=True, validate=KEYED, metadata={"example": "A"})
    title = Text(required=True, validate=validate.Length(max=500))
    project_id = Text(required=True, validate=LABEL)
    task_id = Text(required=True, validate=LABEL)
    execution_prompt = Text(required=True, validate=validate.Length(max=LONGEST_TASK))
    dependencies = fields.List(
        fields.String(),
        load_default=list,
        metadata={"example": []},
        validate=validate.Length(max=20),
    )
    model = fields.String(allow_none=True, validate=validate.Length(max=256))
    timeout_seconds = Whole(allow_none=True, validate=SECONDS, metadata={"example": 300})


class SwarmForm(BudgetForm):
    """Tasks that may depend on each other, for executors of one agent.

    The budget is what all of them may spend together.
    """

    agent_id = Text(required=True, validate=LABEL)
    tasks = fields.List(fields.Nested(TaskForm), required=True, validate=validate.Length(1, 20))
    max_concurrent = Whole(load_default=3, validate=validate.Range(1, 8), metadata={"example": 3})
    deviation_rules = fields.String(load_default="", validate=validate.Length(max=LONGEST_TASK))
    global_timeout_seconds = Whole(
        load_default=1800, validate=validate.Range(60, 3600), metadata={"example": 1800}
    )


def refuse_unknown_tasks(orders: Sequence[Mapping[str, Any]]) -> None:
    """Raise NotFound when one names a project, or a task of it, that the caller does not see."""
    wanted = {(order["project_id"], order["task_id"]) for order in orders}
    named = Task.id.in_([task_id for _, task_id in wanted])
    seen = Task.visible_to(g.principal).select(Task.project, Task.id).where(named)
    for project_id, task_id in sorted(wanted - set(seen.tuples())):
        visible(Project, project_id, Project.id)
        raise Task.missing(task_id)


class TasksForm(Form):
    """Which tasks of a swarm are wanted."""

    status = fields.String(validate=validate.OneOf(STATUSES))


class SwarmsForm(PageForm):
    """Which swarms are wanted."""

    status = fields.String(validate=validate.OneOf(SHOWN))


UNSEEN = ("execution_prompt", "deviation_rules", "starts")  # long, and never shown
LISTED = [field for field in Swarm._meta.sorted_fields if field.name not in UNSEEN]
FILTERS = {
    "status": lambda status: Swarm.state.in_(
        [status, swarms.MERGING] if status == swarms.RUNNING else [status]
    )
}


def dispatched(swarm: Swarm) -> dict[str, Any]:
    """The answer to whoever asked for a swarm."""
    tasks = SwarmTask.of(swarm)
    return {
        "swarm_id": swarm.id,
        "status": "dispatched",
        "total_tasks": len(tasks),
        "max_concurrent": swarm.max_concurrent,
        "root_tasks": dag.roots(tasks),
        "max_depth": dag.depth(tasks),
        "progress_channel": f"djinnbot:swarm:{swarm.id}:progress",
    }


def states(found: Sequence[Swarm]) -> list[dict[str, Any]]:
    """Swarms with their tasks, read together."""
    tasks: dict[str, list[SwarmTask]] = {swarm.id: [] for swarm in found}
    for task in SwarmTask.of(*found, without=UNSEEN):
        tasks[task.swarm_id].append(task)
    paused = _paused([task for mine in tasks.values() for task in mine])
    limits = budgets.of_swarms(*tasks)
    return [
        {**_state(swarm, tasks[swarm.id], paused), "budget": limits.get(swarm.id)}
        for swarm in found
    ]


def state(swarm: Swarm) -> dict[str, Any]:
    """A swarm as it stands; the summary when it is over."""
    return states([swarm])[0]


def told(tasks: Sequence[SwarmTask]) -> list[dict[str, Any]]:
    """Tasks as they stand."""
    paused = _paused(tasks)
    return [_task(task, paused) for task in tasks]


def _state(
    swarm: Swarm, tasks: Sequence[SwarmTask], paused: Mapping[str, str | None]
) -> dict[str, Any]:
    tally = swarms.counts(tasks)
    return {
        **swarm.__data__,
        "status": swarm.status,
        "tasks": [_task(task, paused) for task in tasks],
        "active_count": tally[swarms.RUNNING],
        "completed_count": tally[swarms.COMPLETED],
        "failed_count": tally[swarms.FAILED],
        "skipped_count": tally[swarms.SKIPPED],
        "total_count": len(tasks),
        "summary": swarms.summary(swarm, tasks) if swarm.over else None,
        "merges": swarm.merges or [],
    }


def _task(task: SwarmTask, paused: Mapping[str, str | None]) -> dict[str, Any]:
    reason = paused.get(task.run_id or "")
    return {**task.__data__, "status": task.state, "pause_reason": reason}


def _paused(tasks: Sequence[SwarmTask]) -> dict[str, str | None]:
    """Why the runs that these tasks wait for are paused, where they are."""
    working = [task.run_id for task in tasks if task.state == swarms.RUNNING]
    if not working:
        return {}
    halted = Run.id.in_(working) & (Run.state == runs.PAUSED)
    rows: Any = Run.select(Run.id, Run.pause_reason).where(halted).tuples()
    return dict(rows)
