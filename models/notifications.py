"""Notifications: what admins should know, until they have read it."""

from __future__ import annotations

from typing import Any

from peewee import BooleanField, CharField

from models.base import LongText, Model, Moment, id_field, now_ms
from models.principals import Principal

INFO, WARNING, ERROR = "info", "warning", "error"
LEVELS = (INFO, WARNING, ERROR)
LONGEST_TITLE, LONGEST_DETAIL = 256, 10_000
MOST = 1_000  # older ones make room


class Notification(Model):
    """One thing that admins are told."""

    label = "Notification"

    id = id_field("notif_")
    level = CharField(max_length=16, default=INFO)
    title = CharField(max_length=LONGEST_TITLE)
    detail = LongText(null=True)
    was_read = BooleanField(default=False, column_name="read")
    created_at = Moment(default=now_ms)

    class Meta:
        table_name = "admin_notifications"
        indexes = ((("created_at", "id"), False), (("was_read", "created_at", "id"), False))

    @classmethod
    def visible_to(cls, principal: Principal) -> Any:
        """Admins."""
        return cls.select() if principal.is_admin else cls.select().where(False)


def notify(level: str, title: str, detail: str | None = None) -> Notification:
    """Tell the admins something, in the current transaction; it never holds a secret."""
    told = Notification(level=level, title=title[:LONGEST_TITLE], detail=detail).add()
    newest = Notification.created_at.desc(), Notification.id.desc()
    beyond = Notification.select(Notification.id).order_by(*newest).offset(MOST)
    Notification.delete().where(Notification.id.in_(beyond)).execute()
    return told


def mark_all_read() -> None:
    """Nothing of what there is now is news any more."""
    Notification.update(was_read=True).where(~Notification.was_read).execute()
