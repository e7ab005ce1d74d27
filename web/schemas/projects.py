"""Projects on the wire."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from flask import Response
from marshmallow import fields, pre_load, validate

from models import board, kanban, projects, whole_boards
from models.base import IDENTIFIER, db
from models.board import Column
from models.projects import (
    Project,
)
from models.repositories import CLONED, FAILED, Repository
from web.bodies import Form, Text, Whole
from web.resources import PageForm
from web.schemas.base import Free, Milliseconds, derived, made
from web.schemas.board import ColumnView, DependencyView, TaskView
from web.schemas.board_forms import LONGEST, NAME, NAMED, POSITION, statuses
from web.schemas.crew import AgentView, agents
from web.schemas.workflows import WorkflowView, workflows
from web.whole import whole

SETUP = {
    "cloned": False,
    "clone_error": None,
    "already_cloned": False,
    "branch": None,
    "commit": None,
    "installation_id": None,
    "index_triggered": False,
    "index_job_id": None,
    "status": "queued",
}

ProjectItem = made(
    "ProjectItem",
    {
        **derived(Project, "id", "name", "description", "repository", "default_pipeline_id"),
        **derived(Project, "slack_channel_id", "slack_notify_user_id", "workspace_type"),
        **derived(Project, "owner_id", "created_at", "updated_at", status="state"),
        "task_counts": fields.Dict(metadata={"example": {"ready": 3, "done": 4}}),
        "total_tasks": fields.Integer(),
        "completed_tasks": fields.Integer(),
    },
)
ProjectDetail = made(
    "ProjectDetail",
    {
        **derived(Project, "id", "name", "description", "repository", "default_pipeline_id"),
        **derived(Project, "slack_channel_id", "slack_notify_user_id", "template_id"),
        **derived(Project, "key_user_id", "owner_id", "onboarding_context", "vision"),
        **derived(Project, "workspace_type", "created_at", "updated_at", "completed_at"),
        **derived(Project, status="state"),
        "status_semantics": Free(allow_none=True, metadata={"example": {"initial": ["todo"]}}),
        "columns": fields.List(fields.Nested(ColumnView)),
        "tasks": fields.List(fields.Nested(TaskView)),
        "dependencies": fields.List(fields.Nested(DependencyView)),
        "workflows": fields.List(fields.Nested(WorkflowView)),
        "agents": fields.List(fields.Nested(AgentView)),
    },
)
Setup = Free(allow_none=True, metadata={"example": SETUP})
Created = made(
    "ProjectCreated",
    {
        **derived(Project, "id", "name", "template_id", "created_at", status="state"),
        "workspace_setup": Setup,
    },
)
Deleted = made(
    "ProjectDeleted",
    {"status": fields.String(metadata={"example": "deleted"}), "project_id": fields.String()},
)
Vision = made("Vision", {"vision": fields.String()})
Slack = made(
    "ProjectSlack",
    {
        **derived(Project, "slack_channel_id", "slack_notify_user_id"),
        "status": fields.String(metadata={"example": "updated"}),
    },
)
KeyUser = made(
    "ProjectKeyUser",
    {
        **derived(Project, "key_user_id"),
        "status": fields.String(metadata={"example": "updated"}),
    },
)
RepositorySet = made(
    "RepositorySet",
    {
        "status": fields.String(metadata={"example": "queued"}),
        "repoUrl": fields.String(allow_none=True),
        "validated": fields.Boolean(metadata={"example": False}),
        "installationId": fields.Integer(allow_none=True, metadata={"example": None}),
        "cloned": fields.Boolean(metadata={"example": False}),
        "cloneResult": Free(allow_none=True, metadata={"example": None}),
        "cloneError": fields.String(allow_none=True, metadata={"example": None}),
        "indexTriggered": fields.Boolean(metadata={"example": False}),
        "indexJobId": fields.String(allow_none=True, metadata={"example": None}),
    },
)
RepositoryStatus = made(
    "RepositoryStatus",
    {
        "url": fields.String(allow_none=True),
        "accessible": fields.Boolean(),
        "defaultBranch": fields.String(allow_none=True),
        "latestCommit": fields.String(allow_none=True),
        "branches": fields.List(Free(metadata={"example": {"name": "main", "commit": "5f0c9a1b"}})),
        "error": fields.String(allow_none=True),
        "status": fields.String(metadata={"example": "cloned"}),
        "checkedAt": Milliseconds(allow_none=True),
    },
)


class NewColumnForm(Form):
    """A column of a new project; some keys have an older and a newer name."""

    name = Text(required=True, validate=NAMED)
    position = Whole(required=True, validate=POSITION)
    wip_limit = Whole(allow_none=True, validate=validate.Range(1, board.MOST_TASKS))
    statuses = statuses(required=True)

    @pre_load
    def other_names(self, data: Any, **_: Any) -> Any:
        if not isinstance(data, dict):
            return data
        others = {"statuses": "task_statuses", "wip_limit": "wipLimit"}
        return data | {new: data[old] for new, old in others.items() if old in data}


def semantics(**options: Any) -> fields.Dict:
    """What statuses mean: lists of statuses by meaning."""
    return fields.Dict(
        keys=fields.String(validate=validate.OneOf(kanban.MEANINGS)),
        values=fields.List(fields.String(), validate=validate.Length(max=100)),
        metadata={"example": {"initial": ["ready"], "terminal_done": []}},
        **options,
    )


class ProjectForm(Form):
    """A new project."""

    name = Text(required=True, validate=NAME)
    description = fields.String(allow_none=True, validate=validate.Length(max=LONGEST))
    repository = fields.String(allow_none=True, metadata={"example": None})
    template_id = fields.String(
        data_key="templateId", allow_none=True, metadata={"example": "software-dev"}
    )
    columns = fields.List(
        fields.Nested(NewColumnForm), allow_none=True, validate=validate.Length(1, 50)
    )
    status_semantics = semantics(data_key="statusSemantics", allow_none=True)


class ProjectChange(Form):
    """What is to be different about a project; null leaves a field as it is."""

    name = fields.String(allow_none=True, validate=NAME)
    description = fields.String(allow_none=True, validate=validate.Length(max=LONGEST))
    state = fields.String(
        data_key="status", allow_none=True, validate=validate.OneOf(projects.STATES)
    )
    repository = fields.String(allow_none=True, metadata={"example": None})
    default_pipeline_id = fields.String(
        data_key="defaultPipelineId",
        allow_none=True,
        validate=validate.Length(max=IDENTIFIER),
        metadata={"example": "engineering"},
    )


class ProjectsForm(PageForm):
    """Which projects are wanted; without a status all but archived ones."""

    status = fields.String(validate=validate.OneOf(projects.STATES))


class VisionForm(Form):
    """What a project is to become, in Markdown; "" clears it."""

    vision = fields.String(required=True, validate=validate.Length(max=LONGEST))


class SlackForm(Form):
    """Where a project is talked about."""

    slack_channel_id = fields.String(allow_none=True, validate=validate.Length(max=64))
    slack_notify_user_id = fields.String(allow_none=True, validate=validate.Length(max=64))


class KeyUserForm(Form):
    """Whose keys pay; null is nobody's."""

    key_user_id = fields.String(allow_none=True, required=True, metadata={"example": None})


class RepositoryForm(Form):
    """Where the code lives."""

    repo_url = Text(
        data_key="repoUrl", required=True, metadata={"example": "https://github.com/acme/todo"}
    )


def given(form: Mapping[str, Any]) -> dict[str, Any]:
    """What a form says; null says nothing."""
    return {name: value for name, value in form.items() if value is not None}


def unarchived(query: Any, form: Mapping[str, Any]) -> Any:
    """The projects of a status, or all but the archived ones."""
    if form.get("status") is not None:
        return query.where(Project.state == form["status"])
    return query.where(Project.state != projects.ARCHIVED)


def items(found: Sequence[Project]) -> list[dict[str, Any]]:
    """Projects with how far they are, counted together."""
    counts = board.tallies([project.id for project in found])
    return [_item(project, counts[project.id]) for project in found]


def _item(project: Project, counts: Mapping[str, int]) -> dict[str, Any]:
    done = kanban.Semantics.of(project.status_semantics).terminal_done
    return {
        **project.__data__,
        "task_counts": counts,
        "total_tasks": sum(counts.values()),
        "completed_tasks": sum(counts.get(status, 0) for status in done),
    }


def created(project: Project) -> dict[str, Any]:
    """The answer to whoever made a project."""
    return {**project.__data__, "workspace_setup": SETUP if project.repository else None}


def detailed(project: Project) -> Response:
    """A project with its whole board, all of it as it is at one moment."""
    mine = {"project_id": project.id}
    with db.moment():
        few = {
            **PROJECT_SELF.dump(project.__data__),
            "columns": [{**_row(each), **mine} for each in Column.of(project.id)],
            "workflows": [{**_row(each), **mine} for each in workflows(project.id)],
            "agents": agents(project.id),
        }
        tasks, edges = whole_boards.TASKS.read(project.id), whole_boards.EDGES.read(project.id)
    return whole(few, {"tasks": tasks, "dependencies": edges})


PROJECT_SELF = made(
    "ProjectSelf",
    {
        name: field
        for name, field in ProjectDetail._declared_fields.items()
        if name not in {"columns", "tasks", "dependencies", "workflows", "agents"}
    },
)()


def repository_set(project: Project, status: str) -> dict[str, Any]:
    """The answer to whoever set, removed or refreshed a repository."""
    known = Repository.of(project.id)
    cloned = known is not None and known.state == CLONED
    result = {"branch": known.branch, "commit": known.commit} if known and cloned else None
    return {
        "status": status,
        "repoUrl": project.repository,
        "validated": cloned,
        "installationId": None,
        "cloned": cloned,
        "cloneResult": result,
        "cloneError": known.error if known else None,
        "indexTriggered": False,
        "indexJobId": None,
    }


UNKNOWN: Mapping[str, Any] = {
    "accessible": False,
    "defaultBranch": None,
    "latestCommit": None,
    "branches": [],
    "error": None,
    "status": "none",
    "checkedAt": None,
}


def repository_status(project: Project) -> dict[str, Any]:
    """What the last look at a repository found."""
    known = Repository.of(project.id)
    if known is None:
        return {**UNKNOWN, "url": project.repository}
    return {
        "url": known.url,
        "accessible": known.cloned_at is not None and known.state != FAILED,
        "defaultBranch": known.branch,
        "latestCommit": known.commit,
        "branches": known.branches,
        "error": known.error,
        "status": known.state,
        "checkedAt": known.updated_at,
    }


def _row(row: Any) -> dict[str, Any]:
    return {name: value for name, value in row.__data__.items() if name != "project"}
