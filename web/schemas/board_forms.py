"""What clients may send about boards: columns, tasks, dependencies."""

from __future__ import annotations

from typing import Any

from marshmallow import ValidationError, fields, validate

from models import board
from models.base import IDENTIFIER
from models.board import BLOCKS, INFORMS, PRIORITIES
from models.plans import MOST, MOST_HOURS
from models.stages import WORK_TYPES
from web.bodies import Flag, Form, Text, Whole
from web.resources import PageForm

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
