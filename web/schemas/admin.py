"""What admins ask and read."""

from __future__ import annotations

from typing import Any

from marshmallow import fields, validate

from models import api_usage, notifications, tallies
from models.audit import Entry
from models.notifications import Notification
from web.bodies import LARGEST, Form, Text
from web.resources import PageForm
from web.schemas.base import Free, Milliseconds, derived, made

SOURCES = [api_usage.PERSONAL, api_usage.SHARED, api_usage.INSTANCE, api_usage.SYSTEM]

NotificationView = made(
    "NotificationView",
    derived(
        Notification, "id", "level", "title", "detail", read="was_read", createdAt="created_at"
    ),
)
Noted = made("Noted", {"ok": fields.Boolean()})
AuditEntry = made(
    "AuditEntry",
    {
        **derived(Entry, "seq", "at", "actor", "action", "subject", "digest"),
        "details": Free(metadata={"example": {"name": "ci"}}),
    },
)
AUDIT_FILTERS = {
    "actor": Entry.actor.__eq__,
    "subject": Entry.subject.__eq__,
    "action": Entry.action.__eq__,
    "since": Entry.at.__ge__,
}
UsageItem = made(
    "ApiUsageItem",
    {
        "id": fields.String(metadata={"example": "run_5f0c9a1b2c3d4e5f"}),
        "type": fields.String(metadata={"example": "run"}),
        "agentId": fields.String(
            attribute="agent_id", metadata={"description": "For runs the pipeline's id"}
        ),
        "userId": fields.String(attribute="owner_id", allow_none=True),
        "userEmail": fields.String(attribute="email", allow_none=True),
        "userDisplayName": fields.String(attribute="display_name", allow_none=True),
        "source": fields.String(metadata={"example": "pipeline"}),
        "model": fields.String(allow_none=True),
        "status": fields.String(attribute="state", metadata={"example": "completed"}),
        "keyResolution": Free(attribute="key_resolution", allow_none=True),
        "createdAt": Milliseconds(attribute="created_at"),
        "completedAt": Milliseconds(attribute="completed_at", allow_none=True),
    },
)
Usage = made(
    "ApiUsage",
    {
        "items": fields.List(fields.Nested(UsageItem)),
        "total": fields.Integer(),
        "hasMore": fields.Boolean(),
    },
)


class NotificationsForm(PageForm):
    """A page of notifications."""

    limit = fields.Integer(load_default=50, validate=validate.Range(1, 200))
    unread_only = fields.Boolean(load_default=False)


class NotificationForm(Form):
    """What admins are to be told."""

    level = fields.String(
        load_default=notifications.INFO, validate=validate.OneOf(notifications.LEVELS)
    )
    title = Text(
        required=True,
        validate=validate.Length(1, notifications.LONGEST_TITLE),
        metadata={"example": "The image could not be pulled"},
    )
    detail = fields.String(
        load_default=None,
        allow_none=True,
        validate=validate.Length(max=notifications.LONGEST_DETAIL),
    )


class AuditForm(PageForm):
    """Which entries of the audit log are meant."""

    actor = fields.String(metadata={"description": "Id of who did it"})
    subject = fields.String(metadata={"description": "Id of what was changed"})
    action = fields.String(metadata={"description": "Such as secret.created"})
    since = fields.Integer(validate=validate.Range(0, LARGEST))


class UsageForm(Form):
    """Which runs and chats are meant."""

    user_id = fields.String()
    key_source = fields.String(validate=validate.OneOf(SOURCES))
    status = fields.String()
    type = fields.String(validate=validate.OneOf([tallies.CHAT, tallies.RUN]))
    limit = fields.Integer(load_default=50, validate=validate.Range(1, 200))
    offset = fields.Integer(load_default=0, validate=validate.Range(0, LARGEST))


def usage(form: dict[str, Any]) -> dict[str, Any]:
    """A page of what was used."""
    limit, offset = form.pop("limit"), form.pop("offset")
    items, total = api_usage.page(form, limit, offset), sum(api_usage.counts(form).values())
    return {"items": items, "total": total, "hasMore": offset + len(items) < total}
