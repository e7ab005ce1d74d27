"""Asking that what runs have left be brought to the repositories of their projects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from models import events, pushes, runs
from models.base import NOW, database_ms, db, now_ms
from models.board import Task
from models.errors import Conflict, NotFound
from models.projects import Project
from models.pull_requests import LONGEST_TITLE
from models.pushes import PUSHED, QUEUED, REFUSED, Push
from models.runs import Run
from models.swarms import Swarm, SwarmTask
from tasks import task
from tasks.pull_requests import WISH

KINDS = (runs.PIPELINE, runs.EXECUTOR)  # of runs whose work is for a branch


@task(queue="agents")
def push(push_id: str) -> None:
    """Bring a commit to the branch it is for, and tell the task what came of it."""


def run_ended(run: Run) -> None:
    """A run is over: what it left is for its branch, if it went well. It holds its run's lock."""
    if run.state != runs.COMPLETED or run.kind not in KINDS or run.project_id is None:
        return
    branch = run.task_branch or f"run/{run.id}"
    files = {"commit": run.workspace_commit, "snapshot": run.workspace_snapshot}
    about = {"project": run.project_id, "task_id": run.task_id, "run": run.id}
    want(run.id, run.owner_id, about, {"branch": branch, **files, "opens": run.meta.get(WISH)})


def is_for(run: Run, task: Task) -> bool:
    """Whether what the run leaves is for the branch of this task."""
    return run.kind in KINDS and run.task_id == task.id and run.task_branch == task.branch


def swarm_merged(
    swarm: Swarm, tasks: Sequence[SwarmTask], reports: Sequence[Mapping[str, Any]]
) -> None:
    """A swarm has merged what several did for one task: that is for the branch of the task."""
    firsts = {each.task_id: each for each in reversed(tasks)}
    for report in reports:
        first = firsts[report["task_id"]]
        left = {name: report.get(name) for name in ("branch", "commit", "snapshot")}
        parts = "\n".join(f"- {branch}" for branch in report["merged"])
        opens = {"agent_id": swarm.agent_id, "body": f"Merged:\n{parts}"}
        opens["title"] = first.title[:LONGEST_TITLE]
        about = {"project": first.project_id, "task_id": first.task_id}
        want(f"{swarm.id}:{first.task_id}", swarm.owner_id, about, {**left, "opens": opens})


def want(
    source: str, owner_id: str | None, about: Mapping[str, Any], left: Mapping[str, Any]
) -> None:
    """Have what was left pushed, in place of what its source left before.

    Nothing where no files were kept, or where its owner does not work on the project.
    """
    project = Project.find(about["project"])
    if project is None or project.repository is None or not (left["commit"] and left["snapshot"]):
        return
    if not project.worked_on_by(owner_id):
        return
    columns = {**left, "due_at": database_ms(), "tries": 0, "error": None}
    row = Push.of(source)
    if row is None:
        row = Push(id=Push.id.default(), source=source, **about, **columns).add()
    else:
        row.move(QUEUED, pushed_at=None, **columns)
    push.enqueue(row.id)


def of_task(task: Task) -> str:
    """The push by which the branch of a task last was to get something; NotFound without one."""
    row = Push.last_to(task.project_id, task.branch) if task.branch else None
    if row is None:
        raise NotFound(f"Nothing of task {task.id} was to be pushed yet")
    return str(row.id)


def of_run(run: Run) -> str:
    """The push of what a run left; NotFound without one."""
    row = Push.of(run.id)
    if row is None:
        raise NotFound(f"Nothing of run {run.id} was to be pushed yet")
    return str(row.id)


def again(row: Push) -> Push:
    """Try a push once more that was refused; Conflict when it was not."""
    if row.state != REFUSED:
        raise Conflict(
            f"The push to {row.branch} is {row.state}; only a refused one can be retried"
        )
    with db.atomic():
        task = _task(row)
        row.move(QUEUED, {"state": REFUSED}, due_at=database_ms(), tries=0, error=None)
        _tell(row, task, "branch_push_retried")
        push.enqueue(row.id)
    return row


def arrived(row: Push, flaw: str | None = None) -> None:
    """The repository has it, `flaw` says what is wrong all the same.

    Conflict when something newer is to be pushed instead.
    """
    with db.atomic():
        task = _task(row)
        row.move(PUSHED, {"commit": row.commit}, pushed_at=NOW, error=flaw)
        _tell(row, task, "branch_pushed")


def refused(row: Push, error: str) -> None:
    """The repository will not take it; a person has to look. Conflict as in `arrived`."""
    with db.atomic():
        task = _task(row)
        row.move(REFUSED, {"commit": row.commit}, error=error)
        _tell(row, task, "branch_push_refused")


def postponed(row: Push, error: str) -> None:
    """It did not work this time: it is tried again, unless it was tried often enough."""
    if row.tries >= pushes.MOST_TRIES:
        refused(row, error)
        return
    with db.atomic():
        due_at = database_ms() + row.wait_ms
        mine = {"commit": row.commit, "state": QUEUED}  # somebody else's try may have arrived
        row.move(QUEUED, mine, due_at=due_at, error=error)
        push.enqueue_at(due_at, row.id)


def ask_again() -> None:
    """Ask again for pushes whose request got lost on its way."""
    with db.atomic():
        for push_id in pushes.overdue():
            push.enqueue_once(push_id, push_id)


def _task(row: Push) -> Task | None:
    """The task under its lock, which is taken before that of the push."""
    try:
        return Task.locked(row.project_id, row.task_id) if row.task_id else None
    except NotFound:  # only a label, or deleted
        return None


def _tell(row: Push, task: Task | None, kind: str) -> None:
    """Say on the task, and to the streams of its project, how it went."""
    about = {"branch": row.branch, "commit": row.commit, "error": row.error}
    if task is not None:
        told = {**about, "state": row.state, "at": now_ms()}
        task.put(metadata={**task.metadata, "push": told}, updated_at=now_ms())
    project = Project.find(row.project_id)
    if project is not None:
        which = {"projectId": project.id, "taskId": task and task.id, "runId": row.run_id}
        events.announce(project.owner_id, (kind, {**which, **about}), project_id=project.id)
