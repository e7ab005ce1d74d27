"""A notification, and somebody who waits to be let in."""

from __future__ import annotations

from collections.abc import Callable

from flask.testing import FlaskClient

from models.notifications import Notification
from models.waitlist import Entry as Waiting


def make(owner: FlaskClient, work: Callable[..., int]) -> dict[str, str]:
    told, waits = Notification(title="x").add(), Waiting(email="ada@example.org").add()
    return {"notification_id": told.id, "entry_id": waits.id}
