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
from workers.repositories import origin_for
from workers.swarms.conduct import shared
from workers.workspaces import Passing, Saved, Start, WorkspaceError


def merges(settings: Settings, swarm: Swarm, tasks: Sequence[SwarmTask]) -> list[dict[str, Any]]:
    """Merge the branches of each task that several worked on, in order; gives a report for each.

    A report has `task_id`, `branch`, `merged` (branches), `conflicts` (`branch`, `files`) and, of
    what was made, `commit` and `snapshot`; or the `error` that stood in the way of it all. Raises
    Passing and Unavailable where that may go well another time.
    """
    return [
        _merged(settings, f"{swarm.id}-{number}", swarm.owner_id, group)
        for number, group in enumerate(shared(tasks).values())
    ]


def _merged(
    settings: Settings, key: str, owner_id: str | None, group: Sequence[SwarmTask]
) -> dict[str, Any]:
    branch = branches.whole_branch(group[0].branch, group[0].key)
    starts = [
        Start(task.branch, Saved(task.commit, task.snapshot))
        for task in group
        if task.commit and task.snapshot
    ]
    root, blobs = settings.data / "workspaces", Blobs(settings.blob_url)
    told: dict[str, Any] = {"task_id": group[0].task_id, "branch": branch}
    try:
        origin = origin_for(group[0].project_id, owner_id)
        made = workspaces.merge(root, key, None, starts, blobs, origin)
    except Passing:
        raise
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
