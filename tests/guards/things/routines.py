"""A routine of the owner's, and a worker that could follow it."""

from __future__ import annotations

from collections.abc import Callable

from flask.testing import FlaskClient

from models import processes
from models.base import db
from tests.guards.things.shipped import AGENT

HOUR_MS = 3_600_000


def make(owner: FlaskClient, work: Callable[..., int]) -> dict[str, str]:
    form = {"name": "Morning round", "enabled": False}
    routine = owner.post(f"/v1/pulse-routines/{AGENT}", json=form).json["id"]
    with db.connection_context():
        worker = processes.register("worker", ["short"])
        worker.put(seen_at=worker.seen_at + HOUR_MS)  # however long the tests take
    return {"routine_id": routine}
