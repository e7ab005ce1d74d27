"""Performing what is asked of runs."""

from __future__ import annotations

from contextlib import suppress

from models.base import db, now_ms
from models.config import settings
from models.errors import Conflict, NotFound
from models.runs import Run, active_children
from models.swarms import active_children as active_swarms
from tasks import runs, swarms
from workers import workspaces
from workers.broker import performs
from workers.pipelines import conduct

AGAIN_MS = 30_000


@performs(runs.advance)
def advance(run_id: str, attempt: int) -> None:
    """Move the run on, unless it is gone, over, paused, or a newer attempt exists."""
    with db.atomic():
        run = Run.locked(run_id, attempt)
        if run is not None:
            conduct.advance(run)


@performs(runs.cancel_children)
def cancel_children(run_id: str) -> None:
    """Cancel the swarms and executors that the run has asked for and that are still at work."""
    for swarm_id in active_swarms(run_id):
        with suppress(Conflict, NotFound):
            swarms.cancel(swarm_id, "The run that asked for it has ended")
    for child_id in active_children(run_id):
        with suppress(Conflict, NotFound):  # it has ended by itself, or was deleted, meanwhile
            runs.cancel(child_id)


@performs(runs.remove_workspace)
def remove_workspace(run_id: str) -> None:
    """Delete what this machine keeps of the run's files."""
    try:
        workspaces.remove(settings().data / "workspaces", run_id)
    except workspaces.Busy:  # a cancelled step has not let go of it yet
        runs.remove_workspace.enqueue_at(now_ms() + AGAIN_MS, run_id)
