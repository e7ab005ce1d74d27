"""Performing what is asked of swarms."""

from __future__ import annotations

from contextlib import suppress

from models import swarms
from models.base import db
from models.config import settings
from models.errors import Conflict, NotFound
from models.swarms import COMPLETED, MERGING, Swarm, SwarmTask
from tasks import pushes, runs
from tasks import swarms as swarm_tasks
from workers.broker import performs
from workers.swarms import conduct, merging


@performs(swarm_tasks.advance)
def advance(swarm_id: str) -> None:
    """Move the swarm on, unless it is gone or over."""
    with db.atomic():
        swarm = Swarm.locked(swarm_id)
        if swarm is not None:
            conduct.advance(swarm)


@performs(swarm_tasks.stop_executors)
def stop_executors(swarm_id: str) -> None:
    """Cancel the runs of tasks that the swarm has cancelled, each in a transaction of its own."""
    for run_id in swarms.leftovers(swarm_id):
        with suppress(Conflict, NotFound):  # it has ended, or was deleted, meanwhile
            runs.cancel(run_id)


@performs(swarm_tasks.merge)
def merge(swarm_id: str) -> None:
    """Merge while no lock is held, then end the swarm; a second merge finds it ended.

    What only the moment is to blame for fails this job, which is tried again while there is time.
    """
    swarm = Swarm.find(swarm_id)
    if swarm is None or swarm.state != MERGING:
        return
    tasks = SwarmTask.of(swarm)
    reports = merging.merges(settings(), swarm, tasks)
    with db.atomic():
        locked = Swarm.locked(swarm_id)
        if locked is not None and locked.state == MERGING:
            swarm_tasks.end(locked, SwarmTask.of(locked), COMPLETED, merges=reports)
            pushes.swarm_merged(locked, tasks, reports)
