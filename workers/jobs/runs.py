"""Performing what is asked of runs."""

from __future__ import annotations

from models import pushes
from models.base import database_ms, db
from models.config import settings
from models.logs import log
from models.runs import Run
from tasks import runs
from tasks.steps import ask_for
from workers import workspaces
from workers.broker import performs
from workers.claiming import take
from workers.jobs.steps import carry_out
from workers.pipelines import conduct
from workers.workspaces import folders

AGAIN_MS = 30_000


@performs(runs.proceed)
def proceed(run_id: str, attempt: int) -> None:
    """Move the run on and let the agent of its next step begin, if that has a hand free.

    A job, its relay and a commit fewer than by asking for the step: most runs wait for nobody.
    """
    with db.atomic():
        run = Run.locked(run_id, attempt)
        step = conduct.advance(run) if run is not None else None
        if run is None or step is None:
            return
        if step.due_at:  # later, or when its agent has a hand free again
            ask_for(step)
            return
        claimed = take(run, step)
    if claimed is not None:
        carry_out(*claimed)


@performs(runs.advance)
def advance(run_id: str, attempt: int) -> None:
    """Move the run on, unless it is gone, over, paused, or a newer attempt exists."""
    with db.atomic():
        run = Run.locked(run_id, attempt)
        step = conduct.advance(run) if run is not None else None
        if step is not None:
            ask_for(step)


@performs(runs.remove_workspace)
def remove_workspace(run_id: str) -> None:
    """Delete what this machine keeps of the run's files, unless it is at work.

    Whatever is to go on with them later finds them in the blob store.
    """
    run = Run.find(run_id)
    if run is not None and run.active:
        return
    try:
        workspaces.remove(settings().data / "workspaces", run_id)
    except workspaces.Busy:  # a cancelled step has not let go of it yet
        runs.remove_workspace.enqueue_at(database_ms() + AGAIN_MS, run_id)


def tidy() -> None:
    """Delete what this machine keeps of runs that are gone, or over and pushed.

    Whoever pushes or deletes them need not be where they were at work.
    """
    root = settings().data / "workspaces"
    kept = folders.names(root)
    idle = kept - pushes.needing_files(kept)
    for run_id in idle:
        try:
            workspaces.remove(root, run_id)
        except (workspaces.WorkspaceError, OSError) as error:
            log.info("folder not removed yet", run=run_id, error=str(error))
