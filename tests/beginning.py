"""Runs as in a crowd: they have begun, by the sweep, and nobody has a hand free for them."""

from __future__ import annotations

from models.base import db
from models.outbox import Outbox
from models.steps import AGENTS, EXECUTORS, Step
from workers import boot, broker


def begun(run_id: str) -> Step:
    """The first step of a run, which waits for somebody."""
    boot.load_performers()
    broker.perform("short", "runs.advance", run_id, 1)
    with db.connection_context():
        step: Step = Step.get(Step.run == run_id)
    return step


def lose_what_was_asked() -> None:
    """As when Redis was emptied; what is asked for twice is due for the second time."""
    with db.connection_context():
        Outbox.delete().where(Outbox.due_at == 0).execute()
        Outbox.update(due_at=0).execute()


def keep_waiting() -> None:
    """Lose what agents and executors have been asked so far."""
    with db.connection_context():
        Outbox.delete().where(Outbox.queue.in_([AGENTS, EXECUTORS])).execute()
