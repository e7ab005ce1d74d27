"""The durable past of runs: events as clients read them, in order."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flask import current_app

from models import events
from models.config import Settings
from models.events import Event
from models.runs import Run
from web import positions


def entries(run: Run, form: Mapping[str, Any], step_id: str | None = None) -> list[dict[str, Any]]:
    """The run's events after `since`, at most `limit`, of one step where one is named."""
    asked = positions.run_position(form.get("since") or "0").seq
    since = run.event_seq if asked is None else asked  # `$` is what comes, and that has not yet
    mine = (Event.run_id == run.id) & (Event.seq > since)
    if step_id is not None:
        mine &= Event.data["stepId"].as_text() == step_id
    found = Event.select().where(mine).order_by(Event.seq).limit(form["limit"])
    legacy = legacy_names(form)
    return [{**named(event.payload(), legacy), "id": str(event.seq)} for event in found]


def legacy_names(form: Mapping[str, Any]) -> bool:
    """Whether the original's event names are wanted: asked for, or the server's habit."""
    settings: Settings = current_app.extensions["settings"]
    default = "legacy" if settings.legacy_event_names else "reference"
    return (form.get("names") or default) == "legacy"


def named(payload: dict[str, Any], legacy: bool) -> dict[str, Any]:
    """The payload with the wanted name as its `type`; the other is `legacyType`."""
    if not legacy:
        return payload
    kind = payload["type"]
    return payload | {"type": events.legacy_name(kind), "legacyType": kind}
