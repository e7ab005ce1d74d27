"""Opening the pull request of a task, and looking how it does."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from models.base import dumps
from models.board import LONGEST_BRANCH, Task
from models.errors import Conflict
from models.pull_requests import LONGEST_BODY, LONGEST_TITLE, PullRequest
from tasks import pull_requests, pushes
from workers.agents.tools.base import Bench, Tool, ToolError, bounded, described, flag, text
from workers.agents.tools.errands import ANSWER, ID, PROJECT, Errand, begun
from workers.halting import Halt

COMES_LATER = (
    "{why}. Your work is pushed when this run has ended well, and the pull request is opened then"
    " as you asked for it: there is nothing more for you to do about it."
)


def open_pull_request(bench: Bench, told: dict[str, Any], halt: Halt) -> str:
    """The pull request, opened unless there is one; for the run's own task perhaps with its end.

    GitHub is asked before anything is opened: a try that got lost is found there again.
    """
    errand = begun(bench)
    task = _task(errand, told)
    form = {**told, "agent_id": errand.agent_id, "base_branch": told["base_branch"] or None}
    try:
        return _shown(pull_requests.open_for(errand.agent, task, form))
    except Conflict as error:
        if not pushes.is_for(errand.run, task):
            raise
        errand.mandate.do(lambda run: pull_requests.wish(run, form))
        return COMES_LATER.format(why=error)


def get_task_pr_status(bench: Bench, told: dict[str, Any], halt: Halt) -> str:
    """How the pull request of a task does."""
    found = pull_requests.standing_of(_task(begun(bench), told))
    summary = {"ci_status": found.ci_status, "ready_to_merge": found.ready_to_merge}
    return bounded(dumps({**summary, **asdict(found)}), ANSWER)


def _task(errand: Errand, told: dict[str, Any]) -> Task:
    """The task that is meant: the one named, else the one that is worked on."""
    task_id = told["task_id"] or errand.run.task_id
    if not task_id:
        raise ToolError("say which task_id: your work belongs to none")
    return errand.task({**told, "task_id": task_id})


def _shown(request: PullRequest) -> str:
    draft = ", a draft" if request.draft else ""
    return f"Pull request #{request.number} of {request.branch}{draft}: {request.url}"


TASK = text("The task's id; empty for the one you work on", default="", **ID)
TOOLS = (
    Tool(
        described(
            "open_pull_request",
            "Open the pull request of a task's branch, or get the one that it has. For the task you"
            " work on it is opened when your run has ended well and your work has been pushed.",
            title=text("What it changes, in a line", minLength=1, maxLength=LONGEST_TITLE),
            body=text("What and why, for those who review it", default="", maxLength=LONGEST_BODY),
            draft=flag("It is not ready to be merged"),
            base_branch=text(
                "The branch it is for; empty for the project's own",
                default="",
                maxLength=LONGEST_BRANCH,
            ),
            task_id=TASK,
            project_id=PROJECT,
        ),
        open_pull_request,
        effect="rows",
    ),
    Tool(
        described(
            "get_task_pr_status",
            "How the pull request of a task does: reviews, checks, whether it could be merged.",
            task_id=TASK,
            project_id=PROJECT,
        ),
        get_task_pr_status,
    ),
)
