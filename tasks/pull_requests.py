"""What becomes of a task by the pull request of its branch."""

from __future__ import annotations

from typing import Any

from models.base import db, dumps
from models.board import Task
from models.errors import NotFound
from tasks.moving import Desk


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
        desk.move(task, target, reason="pull_request_merged", **changes)
        desk.tell("task_pr_merged", taskId=task.id, prNumber=number, prUrl=url)
    return task


def _meant(project_id: str, number: int, branch: str) -> Task | None:
    """The task under its lock; who opened the pull request goes before whose branch it is."""
    text = """
        SELECT * FROM tasks WHERE project_id = %s
            AND (metadata @> %s::jsonb OR metadata @> %s::jsonb)
        ORDER BY metadata @> %s::jsonb DESC, id LIMIT 1 FOR NO KEY UPDATE
    """
    opened, worked = dumps({"pr_number": number}), dumps({"git_branch": branch})
    return next(iter(Task.read(text, project_id, opened, worked, opened)), None)
