"""Bringing together what several executors did for one task."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from models import branches
from models.blobs import Blobs
from models.config import Settings
from models.errors import NotFound
from models.logs import log
from models.swarms import Swarm, SwarmTask
from workers import workspaces
from workers.swarms.conduct import shared
from workers.workspaces import Saved, Start, WorkspaceError


def merges(settings: Settings, swarm: Swarm, tasks: Sequence[SwarmTask]) -> list[dict[str, Any]]:
    """Merge the branches of each task that several worked on, in order; gives a report for each.

    A report has `task_id`, `branch`, `merged` (branches), `conflicts` (`branch`, `files`) and, of
    what was made, `commit` and `snapshot`; or the `error` that stood in the way of it all.
    """
    groups = shared(tasks).items()
    return [
        _merged(settings, f"{swarm.id}-{number}", task_id, group)
        for number, (task_id, group) in enumerate(groups)
    ]


def _merged(
    settings: Settings, key: str, task_id: str, group: Sequence[SwarmTask]
) -> dict[str, Any]:
    branch = group[0].branch.removesuffix(branches.executor_branch("", group[0].key))
    starts = [
        Start(task.branch, Saved(task.commit, task.snapshot))
        for task in group
        if task.commit and task.snapshot
    ]
    root, blobs = settings.data / "workspaces", Blobs(settings.blob_url)
    told: dict[str, Any] = {"task_id": task_id, "branch": branch}
    try:
        made = workspaces.merge(root, key, None, starts, blobs)
    except (WorkspaceError, NotFound) as error:
        log.warning("branches not merged", merge=key, error=str(error))
        return {**told, "merged": [], "conflicts": [], "error": str(error)}
    apart = [each for each in made.reports if not each.merged]
    return {
        **told,
        "merged": [each.name for each in made.reports if each.merged],
        "conflicts": [{"branch": each.name, "files": list(each.files)} for each in apart],
        "commit": made.saved.commit if made.saved else None,
        "snapshot": made.saved.snapshot if made.saved else None,
    }
