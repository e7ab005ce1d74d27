"""Webhooks on the wire. Times of this log are seconds: its readers have always had them so."""

from __future__ import annotations

from typing import Any

from flask import g
from marshmallow import fields, validate

from models.webhooks import WebhookEvent, WebhookSecret
from tasks.webhooks import Receipt
from web.bodies import LARGEST, Form, Text, Whole
from web.resources import MOST, PageForm
from web.schemas.base import Free, derived, made

FILTERS = {
    "event_type": lambda kind: WebhookEvent.event_type == kind,
    "repository": lambda name: WebhookEvent.repository_key == name.lower(),
    "processed": lambda done: WebhookEvent.processed == done,
}

Received = made(
    "WebhookReceived",
    {
        "received": fields.Boolean(),
        "status": fields.String(validate=validate.OneOf(["received", "duplicate"])),
        "event": fields.String(metadata={"example": "issues"}),
        "event_type": fields.String(metadata={"example": "issues"}),
        "event_id": fields.String(),
        "delivery_id": fields.String(),
        "action": fields.String(allow_none=True, metadata={"example": "labeled"}),
    },
)


class Seconds(fields.Integer):
    """A moment: seconds since the epoch, UTC."""

    def _serialize(self, value: Any, *args: Any, **kwargs: Any) -> Any:
        return None if value is None else value // 1000


Event = made(
    "WebhookEvent",
    {
        **derived(WebhookEvent, "id", "delivery_id", "event_type", "action", "installation_id"),
        **derived(WebhookEvent, "repository_full_name", "repository_id", "sender_login"),
        **derived(WebhookEvent, "verified", "processed", "processing_error"),
        "received_at": Seconds(metadata={"description": "Seconds since the epoch, UTC"}),
        "processed_at": Seconds(allow_none=True),
    },
)
Events = made(
    "WebhookEvents",
    {
        "events": fields.List(fields.Nested(Event)),
        "count": fields.Integer(metadata={"description": "How many are on this page"}),
        "total": fields.Integer(metadata={"description": "How many match"}),
        "limit": fields.Integer(),
        "offset": fields.Integer(),
    },
)
EventDetail = made("WebhookEventDetail", {**Event._declared_fields, "payload": Free()})
Replayed = made(
    "WebhookReplayed",
    {
        "status": fields.String(metadata={"example": "replayed"}),
        "event_id": fields.String(),
        "message": fields.String(),
    },
)
SecretItem = made("WebhookSecret", derived(WebhookSecret, "installation_id", "created_at"))
SecretDropped = made("WebhookSecretDropped", {"status": fields.String()})


class EventsForm(PageForm):
    """Which events are wanted."""

    limit = fields.Integer(load_default=50, validate=validate.Range(0, MOST))
    event_type = fields.String(validate=validate.Length(max=64))
    repository = fields.String(validate=validate.Length(max=384))
    processed = fields.Boolean()


class LogForm(PageForm):
    """How much of a project's log is wanted."""

    limit = fields.Integer(load_default=50, validate=validate.Range(0, MOST))


class WebhookSecretForm(Form):
    """The secret of an installation that does not share the App's."""

    installation_id = Whole(required=True, validate=validate.Range(1, LARGEST))
    secret = Text(required=True, validate=validate.Length(16, 256))


def receipt(taken: Receipt) -> dict[str, Any]:
    """What GitHub is answered."""
    event = taken.event
    return {
        "received": True,
        "status": "duplicate" if taken.duplicate else "received",
        "event": event.event_type,
        "event_type": event.event_type,
        "event_id": taken.event_id,
        "delivery_id": event.delivery_id,
        "action": event.action,
    }


def events(rows: list[WebhookEvent], form: dict[str, Any]) -> dict[str, Any]:
    """A page of the log."""
    place = {"limit": form["limit"], "offset": form["offset"]}
    return {"events": rows, "count": len(rows), "total": g.total, **place}
