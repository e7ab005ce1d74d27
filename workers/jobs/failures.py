"""Performing failed jobs once more."""

from __future__ import annotations

from models.failures import Failure
from tasks import failures
from workers.broker import PERFORMERS, performs


@performs(failures.repeat)
def repeat(failure_id: str) -> None:
    """Do what failed; the row goes with its success, and stays with a further failure."""
    failure = Failure.find(failure_id)
    if failure is None or failure.due_at is None:
        return
    PERFORMERS[failure.task](*failure.arguments["args"], **failure.arguments["kwargs"])
    failure.delete_instance()
