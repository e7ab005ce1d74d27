"""The pull requests of tasks: opening them, how they do, and what their merging means."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn

from models import board, github_app, pull_requests, pushes
from models.agents import Agent
from models.base import db, dumps, now_ms
from models.board import Task, TaskRun
from models.errors import Conflict, Forbidden, Invalid, Malformed, NotFound
from models.github import Connection
from models.principals import Principal
from models.pull_requests import PullRequest, Standing
from models.pushes import Push
from models.runs import Run
from tasks.moving import Desk

WISH = "pull_request"  # in a run's meta: the pull request that its work is to come with
FACTS = ("pr_number", "pr_url", "pr_merged", "pr_merged_at")  # in a task's metadata


class NotThere(Conflict):
    """GitHub does not have the branch yet."""


def open_for(principal: Principal, task: Task, form: Mapping[str, Any]) -> PullRequest:
    """The pull request of a task's branch, opened unless there is one; asking again is fine.

    Raises NotThere while the branch has not been pushed, Conflict when GitHub will have none,
    Malformed for a project without a repository on GitHub.
    """
    agent_id = form["agent_id"]
    if principal.agent_id not in (None, agent_id):
        raise Forbidden("An agent opens pull requests in its own name")
    if not Agent.select().where(Agent.id == agent_id).exists():
        raise Agent.missing(agent_id)
    connection = _connection(task.project_id)
    if task.branch is None:
        raise NotThere(f"{task.id} has no branch yet: it gets one when it is claimed or executed")
    found = found_or_opened(connection, task.branch, form)
    noted(task.project_id, task.branch, found, agent_id)
    return found


def found_or_opened(connection: Connection, branch: str, form: Mapping[str, Any]) -> PullRequest:
    """The open pull request of a branch, else a new one.

    GitHub is asked first: somebody may have opened one and died before saying so. Of two who open
    one at once, GitHub lets one.
    """
    found = pull_requests.of_branch(connection, branch)
    if found is not None:
        return found
    base = form.get("base_branch") or connection.default_branch
    asked = {"title": form["title"], "body": form.get("body") or "", "head": branch, "base": base}
    try:
        return pull_requests.opened(connection, {**asked, "draft": bool(form.get("draft"))})
    except github_app.Declined as refusal:
        found = pull_requests.of_branch(connection, branch)
        return found or _refuse(connection, branch, base, refusal)


def noted(project_id: str, branch: str, found: PullRequest, agent_id: str | None = None) -> None:
    """Write a pull request on the task of its branch, and tell of it once."""
    with db.atomic():
        try:
            desk = Desk(project_id)
        except NotFound:
            return
        task = _meant(project_id, found.number, branch)
        if task is None or task.metadata.get("pr_number") == found.number:
            return
        kept = {name: value for name, value in task.metadata.items() if name not in FACTS}
        task.put(metadata={**kept, "pr_number": found.number, "pr_url": found.url})
        about = {"taskId": task.id, "agentId": agent_id or task.assigned_agent}
        told = {"prNumber": found.number, "prUrl": found.url, "title": found.title}
        desk.tell("task_pr_opened", **about, **told, draft=found.draft, branch=branch)


def wish(run: Run, form: Mapping[str, Any]) -> None:
    """Have a run's pull request opened when its work has been pushed; the last wish counts.

    The caller holds the run's lock. It must end well for that.
    """
    run.put(meta={**run.meta, WISH: dict(form)})


def standing_of(task: Task) -> Standing:
    """How the pull request of a task does, by GitHub's word of now; NotFound when it has none."""
    connection = _connection(task.project_id)
    number = task.metadata.get("pr_number")
    if not isinstance(number, int) or isinstance(number, bool):
        found = pull_requests.of_branch(connection, task.branch, "all") if task.branch else None
        if found is None:
            raise NotFound(f"{task.id} has no pull request")
        number = found.number
    return pull_requests.standing(connection, number)


def pull_request_merged(
    project_id: str, number: int, url: str, branch: str, merged_at: int
) -> Task | None:
    """The work is in: its task is done, and what waited for that goes on; telling it twice is fine.

    The task is the one that opened this pull request, or whose branch it is; None for neither. A
    run that is still at work on it may end as it likes. `merged_at` is in milliseconds.
    """
    with db.atomic():
        try:
            desk = Desk(project_id)
        except NotFound:
            return None
        task = _meant(project_id, number, branch)
        if task is None or task.metadata.get("pr_merged"):
            return task
        facts = {"pr_number": number, "pr_url": url, "pr_merged": True, "pr_merged_at": merged_at}
        done = desk.board.first("terminal_done")
        target = task.status if done is None or desk.board.done(task.status) else done
        changes: dict[str, Any] = {"metadata": {**task.metadata, **facts}, "run_id": None}
        execution = TaskRun.of_run(task.run_id) if task.run_id is not None else None
        if execution is not None and execution.status == board.WORKING:  # others may begin now
            execution.put(status=board.COMPLETED, completed_at=now_ms())
        desk.move(task, target, reason="pull_request_merged", **changes)
        desk.tell("task_pr_merged", taskId=task.id, prNumber=number, prUrl=url)
    return task


def _connection(project_id: str) -> Connection:
    connection = Connection.of(project_id)
    if connection is None:
        raise Malformed("This project's repository is not connected to GitHub; connect it first")
    return connection


def _refuse(
    connection: Connection, branch: str, base: str, refusal: github_app.Declined
) -> NoReturn:
    """Say in words of ours why GitHub will have no such pull request."""
    if refusal.because("No commits between"):
        raise Conflict(f"{branch} has nothing that {base} has not") from None
    if refusal.because("base"):
        fault = {"loc": ["body", "base_branch"], "msg": "No such branch.", "type": "invalid"}
        raise Invalid(f"base_branch: GitHub knows no branch {base}", errors=[fault]) from None
    if not refusal.because("head"):
        raise Conflict(f"GitHub will have no pull request of {branch} for {base}") from None
    last = Push.last_to(connection.project_id, branch)
    if last is None or last.state == pushes.PUSHED:
        raise NotThere(
            f"{branch} is not on GitHub: it gets there when a run of the task ends well"
        ) from None
    if last.state == pushes.REFUSED:
        raise NotThere(f"{branch} could not be pushed: {last.error}") from None
    raise NotThere(f"{branch} is on its way to GitHub; try again in a moment") from None


def _meant(project_id: str, number: int, branch: str) -> Task | None:
    """The task under its lock; who opened the pull request goes before whose branch it is."""
    text = """
        SELECT * FROM tasks WHERE project_id = %s
            AND (metadata @> %s::jsonb OR metadata @> %s::jsonb AND %s <> '')
        ORDER BY metadata @> %s::jsonb DESC, id LIMIT 1 FOR NO KEY UPDATE
    """
    opened, worked = dumps({"pr_number": number}), dumps({"git_branch": branch})
    return next(iter(Task.read(text, project_id, opened, worked, branch, opened)), None)
