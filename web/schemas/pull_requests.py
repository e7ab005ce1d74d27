"""Pull requests of tasks on the wire."""

from __future__ import annotations

from typing import Any

from marshmallow import fields, validate

from models.board import LONGEST_BRANCH, Task
from models.pull_requests import (
    CI,
    LONGEST_BODY,
    LONGEST_TITLE,
    STATES,
    Check,
    PullRequest,
    Review,
    Standing,
)
from web.bodies import Flag, Form, Text
from web.schemas.base import Milliseconds, made
from web.schemas.board_forms import ID

URL = "https://github.com/acme/todo/pull/7"
BRANCH = "feat/task_5f0c9a1b2c3d4e5f-add-the-login-page"
SHOWN: dict[str, fields.Field] = {
    "pr_number": fields.Integer(metadata={"example": 7}),
    "pr_url": fields.String(metadata={"example": URL}),
    "title": fields.String(),
    "draft": fields.Boolean(metadata={"example": False}),
    "branch": fields.String(metadata={"example": BRANCH}),
}
Opened = made("TaskPullRequest", SHOWN)
ReviewView = made(
    "PullRequestReview",
    {
        "user": fields.String(metadata={"example": "octocat"}),
        "state": fields.String(metadata={"example": "APPROVED"}),
        "submitted_at": Milliseconds(allow_none=True),
    },
)
CheckView = made(
    "PullRequestCheck",
    {
        "name": fields.String(metadata={"example": "tests"}),
        "status": fields.String(
            metadata={"example": "completed", "description": "queued | in_progress | completed"}
        ),
        "conclusion": fields.String(allow_none=True, metadata={"example": "success"}),
        "url": fields.String(allow_none=True, metadata={"example": f"{URL}/checks"}),
    },
)
StandingView = made(
    "TaskPullRequestStatus",
    {
        "task_id": fields.String(),
        **SHOWN,
        "state": fields.String(validate=validate.OneOf(STATES)),
        "merged": fields.Boolean(metadata={"example": False}),
        "mergeable": fields.Boolean(
            allow_none=True, metadata={"description": "null while GitHub is still finding out"}
        ),
        "base_branch": fields.String(metadata={"example": "main"}),
        "author": fields.String(metadata={"example": "djinnbot[bot]"}),
        "reviews": fields.List(fields.Nested(ReviewView)),
        "checks": fields.List(fields.Nested(CheckView)),
        "ci_status": fields.String(validate=validate.OneOf(CI)),
        "ready_to_merge": fields.Boolean(),
    },
)


class PullRequestForm(Form):
    """Whose pull request it is and what it says; its base is usually the project's branch."""

    agent_id = Text(data_key="agentId", required=True, validate=ID)
    title = Text(required=True, validate=validate.Length(max=LONGEST_TITLE))
    body = fields.String(
        allow_none=True,
        validate=validate.Length(max=LONGEST_BODY),
        metadata={"example": "Adds the login page."},
    )
    draft = Flag(load_default=False, metadata={"example": False})
    base_branch = fields.String(
        allow_none=True,
        validate=validate.Length(min=1, max=LONGEST_BRANCH),
        metadata={"example": "main"},
    )


def opened(request: PullRequest) -> dict[str, Any]:
    """A pull request as clients know it."""
    return {
        "pr_number": request.number,
        "pr_url": request.url,
        "title": request.title,
        "draft": request.draft,
        "branch": request.branch,
    }


def standing(task: Task, found: Standing) -> dict[str, Any]:
    """How a task's pull request does."""
    request = found.request
    return {
        "task_id": task.id,
        **opened(request),
        "state": request.state,
        "merged": request.state == "merged",
        "mergeable": request.mergeable,
        "base_branch": request.base,
        "author": request.author,
        "reviews": [_review(each) for each in found.reviews],
        "checks": [_check(each) for each in found.checks],
        "ci_status": found.ci_status,
        "ready_to_merge": found.ready_to_merge,
    }


def _review(review: Review) -> dict[str, Any]:
    return {"user": review.user, "state": review.state, "submitted_at": review.at}


def _check(check: Check) -> dict[str, Any]:
    about = {"name": check.name, "status": check.status}
    return {**about, "conclusion": check.conclusion, "url": check.url}
