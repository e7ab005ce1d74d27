"""Performing what GitHub's webhooks ask for."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from typing import Any

from models.base import db, now_ms
from models.config import settings
from models.webhooks import WebhookEvent
from tasks import github
from workers.broker import performs
from workers.github import acting, facts, missing


@performs(github.process)
def process(event_id: str) -> None:
    """Do what an event entails, unless it is done: everything commits with the word that it is."""
    event = WebhookEvent.find(event_id)
    if event is None or event.processed:
        return
    with ExitStack() as failing:
        failing.push(partial(_note, event_id))
        read = facts.read(event.event_type, event.payload)
        whom = acting.concerned(event, read)
        read = acting.completed(read, whom)
        with db.atomic():
            locked = WebhookEvent.locked(event_id)
            if locked is not None and not locked.processed:
                acting.act(locked, event.payload, read, whom)
                locked.put(processed=True, processed_at=now_ms(), processing_error=None)


@performs(github.catch_up)
def catch_up(slot: int) -> None:
    """Have GitHub send again what never arrived, where there is an App to ask."""
    if settings().github.fault is None:
        missing.catch_up()


def _note(event_id: str, kind: Any, error: Any, trace: Any) -> None:
    """Write down why an event could not be acted on; it is tried again."""
    if error is not None:
        told = WebhookEvent.processing_error.db_value(f"{type(error).__name__}: {error}"[:2000])
        failed = "UPDATE webhook_events SET processing_error = %s WHERE id = %s AND NOT processed"
        db.now(failed, (told, event_id))
