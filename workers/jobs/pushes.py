"""Performing pushes."""

from __future__ import annotations

from contextlib import suppress

from models.base import db
from models.blobs import Blobs
from models.config import settings
from models.errors import Conflict, DomainError, Invalid, Unavailable
from models.github import Connection
from models.pushes import Push
from tasks import pull_requests, pushes, runs
from workers.broker import performs
from workers.repositories import PUSH, origin_of
from workers.workspaces import Saved, WorkspaceError, pushing

LONGEST_ERROR = 500


@performs(pushes.push)
def push(push_id: str) -> None:
    """Push while no lock is held, open the pull request that is wanted, write down what came of it.

    Whoever dies in between has done it: the next try sees it there. What became newer meanwhile was
    asked for again.
    """
    row = Push.taken(push_id)
    if row is None:
        return
    with suppress(Conflict):
        try:
            _send(row)
            flaw = _open(row)
        except pushing.Refused as error:
            pushes.refused(row, _short(error))
        except (WorkspaceError, DomainError) as error:
            pushes.postponed(row, _short(error))
        else:
            _arrived(row, flaw)


def _send(row: Push) -> None:
    origin = origin_of(row.project_id, row.branch, PUSH)
    if origin is None:
        raise pushing.Refused("The project has no repository any more")
    root, blobs = settings().data / "workspaces", Blobs(settings().blob_url)
    pushing.push(root, row.id, Saved(row.commit, row.snapshot), origin, blobs)


def _open(row: Push) -> str | None:
    """Open the pull request that is wanted with it; why GitHub will have none, if it will not."""
    connection = Connection.of(row.project_id) if row.opens else None
    if connection is None or not row.opens:
        return None
    try:
        found = pull_requests.found_or_opened(connection, row.branch, row.opens)
    except pull_requests.NotThere as error:  # GitHub takes a moment to see what was pushed
        raise Unavailable(str(error)) from None
    except (Conflict, Invalid) as error:
        return f"No pull request: {error}"
    pull_requests.noted(row.project_id, row.branch, found, row.opens.get("agent_id"))
    return None


def _arrived(row: Push, flaw: str | None) -> None:
    """Others can reach the work now, so its folder may go."""
    with db.atomic():
        pushes.arrived(row, flaw)
        if row.run_id is not None:
            runs.remove_workspace.enqueue(row.run_id)


def _short(error: Exception) -> str:
    return str(error)[:LONGEST_ERROR]
