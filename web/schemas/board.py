"""Boards on the wire: columns, tasks, dependencies."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import orjson
from flask import current_app
from marshmallow import ValidationError, fields, validate

from models import board, readiness, stages, whole_boards
from models.base import IDENTIFIER
from models.board import BLOCKS, INFORMS, PRIORITIES, Column, Dependency, Task, TaskRun
from models.config import Settings
from models.errors import Malformed
from models.plans import MOST, MOST_HOURS
from models.projects import Project
from models.stages import WORK_TYPES
from models.surroundings import around
from tasks.board import Claim, branch_of
from tasks.moving import Desk, standing
from web.bodies import Flag, Form, Text, Whole
from web.resources import Order, PageForm
from web.schemas.base import Free, derived, made

LONGEST = 200_000
ID = validate.Length(1, IDENTIFIER)
NAMED = validate.Length(1, 128)
NAME = validate.Length(1, 256)
TITLE = validate.Length(1, board.TITLE)
MOST_METADATA = 64 * 1024
POSITION = validate.Range(0, 1_000_000)
LIMIT = validate.Range(1, board.MOST_TASKS)


class Hours(fields.Float):
    """Hours of work: a number, and nothing that merely looks like one."""

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.make_error("invalid", input=value)
        return super()._deserialize(value, *args, **kwargs)


def small(value: Any) -> None:
    """Raise ValidationError for an object that is more than a few notes."""
    if len(str(value)) > MOST_METADATA:
        raise ValidationError(f"Longer than {MOST_METADATA} characters.")


STATUS = validate.Length(1, board.STATUS)
HOURS = validate.Range(0, MOST_HOURS)


def statuses(**options: Any) -> fields.List:
    """The statuses of a column."""
    inner = fields.String(validate=STATUS, metadata={"example": "ready"})
    return fields.List(inner, validate=validate.Length(max=20), **options)


def tags(**options: Any) -> fields.List:
    inner = fields.String(validate=validate.Length(1, 64), metadata={"example": "api"})
    return fields.List(inner, validate=validate.Length(max=50), **options)


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


class ColumnForm(Form):
    """A column of a board."""

    name = Text(required=True, validate=NAMED)
    position = Whole(allow_none=True, validate=POSITION)
    wip_limit = Whole(data_key="wipLimit", allow_none=True, validate=LIMIT)
    task_statuses = statuses(data_key="taskStatuses", load_default=list)


class ColumnChange(Form):
    """What is to be different about a column; a `wipLimit` of null takes the limit away."""

    name = fields.String(validate=NAMED)
    position = Whole(validate=POSITION)
    wip_limit = Whole(data_key="wipLimit", allow_none=True, validate=LIMIT)
    task_statuses = statuses(data_key="taskStatuses")


class NewTaskForm(Form):
    """A new task."""

    title = Text(required=True, validate=TITLE)
    description = fields.String(allow_none=True, validate=validate.Length(max=LONGEST))
    priority = fields.String(allow_none=True, validate=validate.OneOf(PRIORITIES))
    assigned_agent = fields.String(
        data_key="assignedAgent",
        allow_none=True,
        validate=validate.Length(max=IDENTIFIER),
        metadata={"example": "yukihiro"},
    )
    workflow_id = fields.String(data_key="workflowId", allow_none=True, metadata={"example": None})
    parent_task_id = fields.String(
        data_key="parentTaskId", allow_none=True, metadata={"example": None}
    )
    tags = tags(allow_none=True)
    estimated_hours = Hours(data_key="estimatedHours", allow_none=True, validate=HOURS)
    column_id = fields.String(data_key="columnId", allow_none=True, metadata={"example": None})
    metadata = fields.Dict(allow_none=True, validate=small, metadata={"example": {}})
    work_type = fields.String(
        data_key="workType", allow_none=True, validate=validate.OneOf(WORK_TYPES)
    )


class TaskChange(Form):
    """What is to be different about a task; null leaves a field, except that it frees the task
    of its agent, as "" does."""

    title = fields.String(allow_none=True, validate=TITLE)
    description = fields.String(allow_none=True, validate=validate.Length(max=LONGEST))
    status = fields.String(allow_none=True, validate=STATUS, metadata={"example": "ready"})
    priority = fields.String(allow_none=True, validate=validate.OneOf(PRIORITIES))
    assigned_agent = fields.String(
        data_key="assignedAgent",
        allow_none=True,
        validate=validate.Length(max=IDENTIFIER),
        metadata={"example": "yukihiro"},
    )
    workflow_id = fields.String(data_key="workflowId", allow_none=True, metadata={"example": None})
    tags = tags(allow_none=True)
    estimated_hours = Hours(data_key="estimatedHours", allow_none=True, validate=HOURS)
    metadata = fields.Dict(allow_none=True, validate=small, metadata={"example": {}})
    work_type = fields.String(
        data_key="workType", allow_none=True, validate=validate.OneOf(WORK_TYPES)
    )
    spec_review_status = fields.String(allow_none=True, validate=validate.OneOf(board.REVIEWS))
    quality_review_status = fields.String(allow_none=True, validate=validate.OneOf(board.REVIEWS))
    spec_review_notes = fields.String(allow_none=True, validate=validate.Length(max=LONGEST))
    quality_review_notes = fields.String(allow_none=True, validate=validate.Length(max=LONGEST))


class ClaimForm(Form):
    """Who wants the task."""

    agent_id = Text(data_key="agentId", required=True, validate=ID)


class WorkspaceForm(Form):
    """Whose files they are; by default those of the agent that has the task."""

    agent_id = fields.String(validate=ID, metadata={"example": "yukihiro"})


class TransitionForm(Form):
    """Where a task goes; `force` lets a person leave out policy, subtasks and dependencies."""

    target = Text(
        data_key="status", required=True, validate=STATUS, metadata={"example": "in_progress"}
    )
    note = fields.String(allow_none=True, validate=validate.Length(max=4_000))
    force = Flag(load_default=False, metadata={"example": False})


class MoveForm(Form):
    """The place in a column that a task is put to."""

    column_id = Text(data_key="columnId", required=True, validate=ID)
    position = Whole(load_default=0, validate=POSITION)


class DependencyForm(Form):
    """What must be done first."""

    from_task_id = Text(data_key="fromTaskId", required=True, validate=ID)
    type = fields.String(load_default=BLOCKS, validate=validate.OneOf([BLOCKS, INFORMS]))


class BoardTasksForm(PageForm):
    """Which tasks are wanted."""

    status = fields.String()
    priority = fields.String()
    agent = fields.String()
    tag = fields.String()


class Words(fields.String):
    """Words by comma."""

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> Any:
        text = super()._deserialize(value, *args, **kwargs)
        return [word.strip() for word in text.split(",") if word.strip()]


class ReadyForm(Form):
    """Which of the tasks that could be begun are wanted."""

    agent_id = fields.String()
    limit = fields.Integer(load_default=20, validate=validate.Range(1, MOST))
    statuses = Words()
    work_types = Words()


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
