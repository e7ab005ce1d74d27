"""Changing sessions."""

from __future__ import annotations

from models.errors import Malformed
from models.sessions import ACTIVE, Session
from tasks import runs


def stop(session: Session) -> None:
    """Stop an agent at work; a session belongs to a run, so that run is cancelled."""
    if session.state not in ACTIVE or session.run_id is None:
        raise Malformed(f"Session {session.id} is not running (it is {session.state})")
    runs.cancel(session.run_id)
