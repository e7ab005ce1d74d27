"""Boards on the wire: columns, tasks, dependencies."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import orjson
from flask import current_app
from marshmallow import fields

from models import board, readiness, stages, whole_boards
from models.board import Column, Dependency, Task, TaskRun
from models.config import Settings
from models.errors import Malformed
from models.projects import Project
from models.surroundings import around
from tasks.board import Claim, branch_of
from tasks.moving import Desk, standing
from web.resources import Order
from web.schemas.base import Free, derived, made

TaskView = made(
    "TaskView",
    {
        **derived(Task, "id", "title", "description", "status", "priority", "assigned_agent"),
        **derived(Task, "workflow_id", "pipeline_id", "run_id", "estimated_hours"),
        **derived(Task, "column_position", "work_type", "spec_review_status"),
        **derived(Task, "quality_review_status", "spec_review_notes", "quality_review_notes"),
        **derived(Task, "created_at", "updated_at", "completed_at"),
        "project_id": fields.String(),
        "column_id": fields.String(metadata={"example": "col_5f0c9a1b2c3d4e5f"}),
        "parent_task_id": fields.String(allow_none=True, metadata={"example": None}),
        "tags": fields.List(fields.String(metadata={"example": "api"})),
        "completed_stages": fields.List(fields.String(metadata={"example": "implement"})),
        "metadata": Free(metadata={"example": {"git_branch": "feat/task_1-login"}}),
    },
)
ColumnView = made(
    "ColumnView",
    {
        **derived(Column, "id", "name", "position", "wip_limit"),
        "project_id": fields.String(),
        "task_statuses": fields.List(fields.String(metadata={"example": "ready"})),
    },
)
DependencyView = made(
    "DependencyView",
    {
        **derived(Dependency, "id", "type"),
        **{name: fields.String() for name in ("project_id", "from_task_id", "to_task_id")},
    },
)
Blocker = made(
    "BlockingDependency",
    {
        name: fields.String()
        for name in ("id", "from_task_id", "from_task_title", "from_task_status", "type")
    },
)
Dependent = made(
    "Dependent",
    {
        name: fields.String()
        for name in ("id", "to_task_id", "to_task_title", "to_task_status", "type")
    },
)
Subtask = made("Subtask", derived(Task, "id", "title", "status", "priority"))
Execution = made(
    "TaskExecution",
    {
        **derived(TaskRun, "id", "pipeline_id", "status", "started_at", "completed_at"),
        "task_id": fields.String(),
        "run_id": fields.String(),
    },
)
TaskDetail = made(
    "TaskDetail",
    {
        **TaskView._declared_fields,
        "blocking_dependencies": fields.List(fields.Nested(Blocker)),
        "dependents": fields.List(fields.Nested(Dependent)),
        "subtasks": fields.List(fields.Nested(Subtask)),
        "run_history": fields.List(fields.Nested(Execution)),
    },
)
NewTask = made(
    "NewTask", {**derived(Task, "id", "title", "status", "work_type"), "column_id": fields.String()}
)
NewColumn = made("NewColumn", derived(Column, "id", "name", "position"))
NewDependency = made(
    "NewDependency",
    {
        **derived(Dependency, "id", "type"),
        "from": fields.String(attribute="from_task_id"),
        "to": fields.String(attribute="to_task_id"),
    },
)
Done = made("BoardChanged", {"status": fields.String(metadata={"example": "updated"})})
Claimed = made(
    "Claimed",
    {
        "status": fields.String(metadata={"example": "claimed"}),
        "task_id": fields.String(),
        "agent_id": fields.String(),
        "branch": fields.String(),
    },
)
Transitioned = made(
    "Transitioned",
    {
        "status": fields.String(metadata={"example": "transitioned"}),
        **{name: fields.String() for name in ("task_id", "from_status", "to_status", "column_id")},
        "work_type": fields.String(allow_none=True),
        "completed_stages": fields.List(fields.String()),
        "next_valid_stages": fields.List(fields.String(), allow_none=True),
    },
)
Moved = made(
    "Moved",
    {
        "status": fields.String(metadata={"example": "moved"}),
        "column_id": fields.String(),
        "position": fields.Integer(),
    },
)
Neighbour = made("Neighbour", {name: fields.String() for name in ("id", "title", "status")})
ReadyTasks = made(
    "ReadyTasks",
    {
        "tasks": fields.List(
            fields.Nested(
                made(
                    "ReadyTask",
                    {
                        **derived(Task, *readiness.COLUMNS),
                        "tags": fields.List(fields.String()),
                        "completed_stages": fields.List(fields.String()),
                        "blocking_tasks": fields.List(fields.Nested(Neighbour)),
                    },
                )
            )
        ),
        "in_progress": fields.List(
            fields.Nested(
                made(
                    "TaskInProgress",
                    {
                        **derived(Task, *readiness.SHORT),
                        "blocks": fields.List(fields.Nested(Neighbour)),
                    },
                )
            )
        ),
    },
)
Branch = made(
    "TaskBranch",
    {
        **{name: fields.String() for name in ("task_id", "project_id", "branch")},
        "created": fields.Boolean(),
    },
)


WorkspaceReady = made(
    "TaskWorkspace",
    {
        "status": fields.String(metadata={"example": "ready"}),
        **{name: fields.String() for name in ("task_id", "agent_id", "branch")},
        "worktree_path": fields.String(
            allow_none=True,
            metadata={"example": None, "description": "The last run's, if this machine has it"},
        ),
        "already_existed": fields.Boolean(),
    },
)
WorkspaceRemoved = made(
    "TaskWorkspaceRemoved",
    {
        "status": fields.String(metadata={"example": "remove_requested"}),
        "task_id": fields.String(),
        "agent_id": fields.String(allow_none=True, metadata={"example": "yukihiro"}),
    },
)


PLACED = Order((Task.column_position, Task.id), descending=False)
FILTERS = {
    "status": Task.status.__eq__,
    "priority": Task.priority.__eq__,
    "agent": Task.assigned_agent.__eq__,
    "tag": lambda tag: Task.tags.contains([tag]),
}


def written(tasks: Iterable[Task]) -> list[orjson.Fragment]:
    """Tasks that were read as their JSON."""
    return [orjson.Fragment(task.shown) for task in tasks]  # type: ignore[attr-defined]


def changes(form: Mapping[str, Any]) -> dict[str, Any]:
    """The columns that a change sets; null leaves them, but takes the agent off a task."""
    given = {name: value for name, value in form.items() if value is not None}
    if "assigned_agent" in form:
        given["assigned_agent"] = form["assigned_agent"] or None
    return given


def detailed(task: Task) -> dict[str, Any]:
    """A task with what it waits for, what waits for it, its parts, and who worked on it."""
    near = around(task)
    return {
        **shown(task),
        "blocking_dependencies": [_told(edge, "from", other) for edge, other in near.before],
        "dependents": [_told(edge, "to", other) for edge, other in near.after],
        "subtasks": near.parts,
        "run_history": near.runs,
    }


def shown(task: Task) -> dict[str, Any]:
    """A task's columns under their names on the wire."""
    return {name: getattr(task, name) for name in whole_boards.SHOWN}


def _told(edge: Dependency, end: str, other: Task) -> dict[str, Any]:
    about = {"id": other.id, "title": other.title, "status": other.status}
    return {
        "id": edge.id,
        "type": edge.type,
        **{f"{end}_task_{name}": value for name, value in about.items()},
    }


def claimed(claim: Claim) -> dict[str, Any]:
    """The answer to whoever claimed a task."""
    task = claim.task
    status = "claimed" if claim.fresh else "already_claimed"
    told = {"task_id": task.id, "agent_id": task.assigned_agent}
    return {"status": status, **told, "branch": task.branch or ""}


def transitioned(task: Task, before: str, desk: Desk) -> dict[str, Any]:
    """The answer to whoever moved a task."""
    rules = desk.rules(task)
    valid = stages.next_valid(desk.board, rules, standing(task)) if desk.policy else None
    return {
        "status": "transitioned",
        "task_id": task.id,
        "from_status": before,
        "to_status": task.status,
        "column_id": task.column_id,
        "work_type": task.work_type,
        "completed_stages": task.completed_stages,
        "next_valid_stages": valid,
    }


def ready(project: Project, form: dict[str, Any]) -> dict[str, Any]:
    """What could be begun on a board, and what is under way."""
    layout = board.layout(project)
    begun = layout.means.in_progress
    return {
        "tasks": readiness.ready(project.id, layout, form),
        "in_progress": readiness.in_progress(project.id, begun, form["limit"]),
    }


def branch(project: Project, task: Task) -> dict[str, Any]:
    """The branch of a task; Malformed where there is no repository to have it in."""
    if project.repository is None:
        raise Malformed("This project has no repository")
    name, fresh = branch_of(task)
    told = {"task_id": task.id, "project_id": project.id}
    return {**told, "branch": name, "created": fresh}


def workspace(task: Task, agent_id: str) -> dict[str, Any]:
    """Where a task is worked on; each run has files of its own, beginning where the last ended."""
    name, fresh = branch_of(task)
    settings: Settings = current_app.extensions["settings"]
    last = TaskRun.select().where(TaskRun.task == task.id).order_by(TaskRun.started_at.desc())
    trees = [settings.data / "workspaces" / each.run_id / "tree" for each in last.limit(1)]
    return {
        "status": "ready",
        "task_id": task.id,
        "agent_id": agent_id,
        "branch": name,
        "worktree_path": next((str(tree) for tree in trees if tree.is_dir()), None),
        "already_existed": not fresh,
    }
