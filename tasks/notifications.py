"""Telling admins something, and their having read it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from models import notifications
from models.base import db
from models.errors import Forbidden
from models.notifications import Notification
from models.principals import Principal


def create(principal: Principal, form: Mapping[str, Any]) -> Notification:
    """Tell all admins; the engine may, and they themselves."""
    if not (principal.is_admin or principal.is_engine):
        raise Forbidden("Only admins and the engine may do this")
    with db.atomic():
        return notifications.notify(**form)


def dismiss(notification: Notification) -> None:
    """It has been read; doing it again changes nothing."""
    notification.put(was_read=True)
