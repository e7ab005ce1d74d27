"""Changing sessions."""

from __future__ import annotations

from models.chats import ChatSession
from models.errors import Malformed
from models.sessions import ACTIVE, Session
from tasks import chats, runs


def stop(session: Session) -> None:
    """Stop an agent at work; a session belongs to a run, so that is cancelled. A chat goes on."""
    if session.state not in ACTIVE or session.run_id is None:
        raise Malformed(f"Session {session.id} is not running (it is {session.state})")
    chat = ChatSession.find(session.run_id)
    if chat is not None:
        chats.stop(chat)
    else:
        runs.cancel(session.run_id)
