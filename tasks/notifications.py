"""Telling admins something, and their having read it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from models import notifications
from models.base import db
from models.notifications import Notification


def create(form: Mapping[str, Any]) -> Notification:
    """Tell all admins."""
    with db.atomic():
        return notifications.notify(**form)


def dismiss(notification: Notification) -> None:
    """It has been read; doing it again changes nothing."""
    notification.put(was_read=True)
