"""Asking again for jobs that raised."""

from __future__ import annotations

from models import failures
from models.base import db
from tasks import task


@task(queue="short")
def repeat(failure_id: str) -> None:
    """Try a failed job again; asked for on the queue where it failed."""


def ask_again() -> None:
    """Ask for every failed job whose time has come."""
    with db.atomic():
        for failure_id, queue in failures.due():
            repeat.on(queue).enqueue_once(failure_id, failure_id)
