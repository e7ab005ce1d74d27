"""Executions, plans and imports on the wire."""

from __future__ import annotations

from typing import Any

import orjson
from flask import Response
from marshmallow import fields, pre_load, validate

from models import board, dag, plans, schedule, ways, whole_boards
from models.base import IDENTIFIER, db
from models.board import PRIORITIES, Task
from models.plans import Planned
from models.projects import Project
from models.runs import Run
from models.swarms import Swarm, SwarmTask
from tasks.board_swarms import Draft
from tasks.executions import PLANNING, Executed
from tasks.planting import Planted
from web.bodies import Form, Text, Whole
from web.schemas.base import Free, Milliseconds, derived, made
from web.schemas.board import DependencyView
from web.schemas.board_forms import HOURS, ID, LONGEST, TITLE, Hours, tags
from web.schemas.runs import LONGEST_TASK
from web.whole import whole

MODEL = validate.Length(max=256)
USUAL_HOURS = 4.0  # of a task that says nothing

Executing = made(
    "TaskExecuting",
    {
        "status": fields.String(metadata={"example": "executing"}),
        "task_id": fields.String(),
        **derived(Run, "pipeline_id", "agent_id", run_id="id"),
    },
)
ExecutedReady = made(
    "ExecutedReady",
    {
        "status": fields.String(metadata={"example": "executed"}),
        "executed": fields.Integer(),
        "skipped": fields.Integer(),
        "tasks": fields.List(fields.Nested(Executing)),
        "skipped_tasks": fields.List(
            Free(metadata={"example": {"task_id": "task_1", "reason": "finn is at work"}})
        ),
    },
)
RunCompleted = made(
    "TaskRunCompleted",
    {
        "status": fields.String(metadata={"example": "updated"}),
        "task_status": fields.String(metadata={"example": "done"}),
        "reason": fields.String(),
    },
)
Imported = made(
    "TasksImported",
    {
        "status": fields.String(metadata={"example": "imported"}),
        "tasks_created": fields.Integer(),
        "dependencies_created": fields.Integer(),
        "skipped_dependencies": fields.List(fields.String(metadata={"example": "Login: Sesion"})),
        "task_ids": fields.List(fields.String()),
        "title_to_id": fields.Dict(metadata={"example": {"Add the login page": "task_1"}}),
    },
)
Planning = made(
    "PlanningStarted",
    {
        "status": fields.String(metadata={"example": "planning_started"}),
        "project_id": fields.String(),
        "run_id": fields.String(),
        "pipeline_id": fields.String(metadata={"example": "planning"}),
    },
)
Reflowed = made("Reflowed", {"moved": fields.Integer(), "promoted": fields.Integer()})
SwarmPreview = made(
    "BoardSwarmPreview",
    {
        "tasks": fields.List(
            Free(metadata={"example": {"key": "task_1", "title": "Login", "dependencies": []}})
        ),
        "total_tasks": fields.Integer(),
        "root_tasks": fields.List(fields.String(metadata={"example": "task_1"})),
        "max_depth": fields.Integer(),
        "skipped_tasks": fields.List(
            Free(metadata={"example": {"task_id": "task_9", "reason": "the swarm is full"}})
        ),
    },
)
GraphNode = made(
    "DependencyGraphNode",
    derived(Task, "id", "title", "status", "priority", "assigned_agent", "estimated_hours"),
)
Graph = made(
    "DependencyGraph",
    {
        "nodes": fields.List(fields.Nested(GraphNode)),
        "edges": fields.List(fields.Nested(DependencyView)),
        "critical_path": fields.List(fields.String()),
        "topological_order": fields.List(fields.String()),
    },
)
TimelineTask = made(
    "TimelineTask",
    {
        **derived(Task, "id", "title", "status", "priority", "assigned_agent"),
        "tags": fields.List(fields.String()),
        "estimated_hours": fields.Float(),
        "dependencies": fields.List(fields.String()),
        "scheduled_start": Milliseconds(),
        "scheduled_end": Milliseconds(),
        "duration_days": fields.Float(),
        "actual": fields.Boolean(metadata={"description": "Whether it is done already"}),
        "is_critical": fields.Boolean(),
    },
)
Timeline = made(
    "ProjectTimeline",
    {
        "tasks": fields.List(fields.Nested(TimelineTask)),
        "project_start": Milliseconds(),
        "project_end": Milliseconds(),
        "total_hours": fields.Float(),
        "total_days": fields.Float(),
        "critical_path": fields.List(fields.String()),
        "hours_per_day": fields.Float(),
    },
)


class ExecuteForm(Form):
    """How a task is to be worked on; without a body as its workflow or project says."""

    workflow_id = fields.String(data_key="workflowId", allow_none=True, metadata={"example": None})
    pipeline_id = fields.String(
        data_key="pipelineId", allow_none=True, validate=ID, metadata={"example": "engineering"}
    )
    context = fields.String(allow_none=True, validate=validate.Length(max=LONGEST_TASK))
    model_override = fields.String(
        data_key="modelOverride", allow_none=True, validate=MODEL, metadata={"example": None}
    )
    key_user_id = fields.String(
        data_key="keyUserId",
        allow_none=True,
        validate=validate.Length(max=IDENTIFIER),
        metadata={"example": None, "description": "Oneself, or who pays for the project"},
    )


class ExecuteAgentForm(Form):
    """Which agent is to work on a task alone."""

    agent_id = Text(data_key="agentId", required=True, validate=ID)
    model_override = fields.String(
        data_key="modelOverride", allow_none=True, validate=MODEL, metadata={"example": None}
    )
    key_user_id = fields.String(
        data_key="keyUserId", allow_none=True, validate=ID, metadata={"example": None}
    )


class ExecuteReadyForm(Form):
    """How many tasks may begin at most."""

    max_tasks = fields.Integer(load_default=5, validate=validate.Range(1, 50))


class RunCompletedForm(Form):
    """Which run has ended, and how."""

    run_id = fields.String(required=True)
    status = fields.String(required=True)


class ImportedForm(Form):
    """A task that is to be; dependencies are titles of others."""

    title = Text(required=True, validate=TITLE)
    description = fields.String(load_default="", validate=validate.Length(max=LONGEST))
    priority = fields.String(load_default="P2", validate=validate.OneOf(PRIORITIES))
    tags = tags(load_default=list)
    estimated_hours = Hours(data_key="estimatedHours", allow_none=True, validate=HOURS)
    dependencies = fields.List(
        fields.String(),
        load_default=list,
        validate=validate.Length(max=100),
        metadata={"example": []},
    )


class ImportForm(Form):
    """A plan."""

    tasks = fields.List(
        fields.Nested(ImportedForm), required=True, validate=validate.Length(1, plans.MOST)
    )


class PlanForm(Form):
    """Which pipeline plans, and what it should know beside the project's own words."""

    pipeline_id = fields.String(
        data_key="pipelineId", load_default=PLANNING, validate=ID, metadata={"example": PLANNING}
    )
    context = fields.String(allow_none=True, validate=validate.Length(max=LONGEST_TASK))


class SwarmPreviewForm(Form):
    """Which tasks are meant; by default all that could be begun."""

    task_ids = fields.List(
        fields.String(validate=ID),
        data_key="taskIds",
        allow_none=True,
        validate=validate.Length(1, 100),
        metadata={"example": None},
    )


class BoardSwarmForm(SwarmPreviewForm):
    """Which agent's executors are to work through the tasks."""

    agent_id = Text(data_key="agentId", required=True, validate=ID)
    max_concurrent = Whole(data_key="maxConcurrent", validate=validate.Range(1, 8))
    deviation_rules = fields.String(
        data_key="deviationRules", validate=validate.Length(max=LONGEST_TASK)
    )
    global_timeout_seconds = Whole(
        data_key="globalTimeoutSeconds",
        validate=validate.Range(60, 3600),
        metadata={"example": 1800},
    )

    @pre_load
    def other_name(self, data: Any, **_: Any) -> Any:
        if isinstance(data, dict) and "agent_id" in data:
            return {"agentId": data["agent_id"], **data}
        return data


class TimelineForm(Form):
    """How long a day of work is."""

    hours_per_day = fields.Float(load_default=8.0, validate=validate.Range(0.25, 24.0))


def executing(task: Task, run: Run) -> dict[str, Any]:
    """The answer to whoever had a task executed."""
    return {"status": "executing", "task_id": task.id, **run.__data__}


def executed(found: Executed) -> dict[str, Any]:
    """What became of all that was ready."""
    return {
        "status": "executed" if found.started else "no_ready_tasks",
        "executed": len(found.started),
        "skipped": len(found.skipped),
        "tasks": [executing(task, run) for task, run in found.started],
        "skipped_tasks": [{"task_id": task, "reason": why} for task, why in found.skipped],
    }


def plan_of(form: dict[str, Any]) -> plans.Plan:
    """The plan that somebody sends."""
    tasks = [
        Planned(
            key=f"#{place}",
            title=told["title"],
            description=told["description"],
            priority=told["priority"],
            tags=tuple(told["tags"]),
            hours=told.get("estimated_hours"),
            needs=tuple(told["dependencies"]),
        )
        for place, told in enumerate(form["tasks"])
    ]
    return plans.linked(tasks)


def imported(planted: Planted) -> dict[str, Any]:
    """What came of a plan."""
    return {
        "status": "imported",
        "tasks_created": len(planted.ids),
        "dependencies_created": planted.dependencies,
        "skipped_dependencies": list(planted.skipped),
        "task_ids": list(planted.ids.values()),
        "title_to_id": planted.titles,
    }


def graph(project_id: str) -> Response:
    """A board as a graph, with its longest way."""
    with db.moment():
        nodes = whole_boards.NODES.read(project_id)
        edges = whole_boards.EDGES.read(project_id)
        found = ways.of_board(project_id, edges)
    few = {
        "critical_path": orjson.Fragment(found.critical),
        "topological_order": orjson.Fragment(found.order),
    }
    return whole(few, {"nodes": nodes, "edges": edges})


def timeline(project: Project, hours_per_day: float) -> dict[str, Any]:
    """When each task could be done, if everything went side by side from the project's start."""
    tasks, needs = _tasks(project.id), whole_boards.waits(project.id)
    jobs = [
        schedule.Job(
            task["id"], task["estimated_hours"] or USUAL_HOURS, tuple(needs.get(task["id"], ()))
        )
        for task in tasks
    ]
    found = schedule.scheduled(jobs)
    done = board.layout(project).means.terminal_done
    begin, critical = project.created_at, set(found.critical)
    return {
        "tasks": [
            {
                **task,
                "estimated_hours": task["estimated_hours"] or USUAL_HOURS,
                "dependencies": needs.get(task["id"], ()),
                "scheduled_start": schedule.moment(begin, slot.start, hours_per_day),
                "scheduled_end": schedule.moment(begin, slot.end, hours_per_day),
                "duration_days": (slot.end - slot.start) / hours_per_day,
                "actual": task["status"] in done,
                "is_critical": task["id"] in critical,
            }
            for task, slot in ((task, found.slots[task["id"]]) for task in tasks)
        ],
        "project_start": begin,
        "project_end": schedule.moment(begin, found.hours, hours_per_day),
        "total_hours": found.hours,
        "total_days": found.hours / hours_per_day,
        "critical_path": found.critical,
        "hours_per_day": hours_per_day,
    }


SEEN = ("id", "title", "status", "priority", "assigned_agent", "estimated_hours")


def _tasks(project_id: str) -> list[dict[str, Any]]:
    rows = whole_boards.in_place(project_id, *SEEN, "tags::text")
    return [
        {**dict(zip(SEEN, row[:-1], strict=True)), "tags": orjson.Fragment(row[-1])} for row in rows
    ]


def preview(draft: Draft) -> dict[str, Any]:
    """What a swarm would work on."""
    nodes = [SwarmTask(key=each["key"], dependencies=each["dependencies"]) for each in draft.tasks]
    return {
        "tasks": [
            {name: each[name] for name in ("key", "title", "dependencies")} for each in draft.tasks
        ],
        "total_tasks": len(nodes),
        "root_tasks": dag.roots(nodes),
        "max_depth": dag.depth(nodes),
        "skipped_tasks": draft.skipped,
    }


def swarms_of(mine: Any, project: Project) -> Any:
    """The swarms that work on tasks of a project, among those the caller may see."""
    there = SwarmTask.select(SwarmTask.swarm).where(SwarmTask.project_id == project.id)
    return mine.where(Swarm.id.in_(there))
