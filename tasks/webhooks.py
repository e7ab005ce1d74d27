"""Taking in what GitHub tells us: each delivery once, together with the request to act on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from models import audit, webhooks
from models.base import IDENTIFIER, clean, db, now_ms
from models.errors import Conflict, TooMany, Unauthenticated
from models.principals import Principal
from models.webhooks import Delivery, WebhookEvent, WebhookSecret
from tasks.github import catch_up, process

SLOT_MS = 300_000  # how often GitHub is asked what it could not deliver
UNSIGNED = "The signature does not fit the body"


@dataclass(frozen=True)
class Receipt:
    """What was told, and the id under which it was kept when it came first."""

    event: WebhookEvent
    event_id: str

    @property
    def duplicate(self) -> bool:
        return self.event_id != self.event.id


def receive(delivery: Delivery) -> Receipt:
    """Keep a verified delivery and ask for what it entails; one that came before changes nothing.

    Unauthenticated when it is signed with a secret that is not its installation's, TooMany when
    that installation has told too much: GitHub is asked to send it again later (`catch_up`).
    """
    event = _read(delivery)
    if not _rightly_signed(delivery, event.installation_id):
        raise Unauthenticated(UNSIGNED)
    if webhooks.crowded(event.installation_id):
        raise TooMany("This installation tells more than is taken in", after=60)
    with db.atomic():
        kept = event.add_once()
        if kept == event.id:
            process.enqueue(event.id)
    return Receipt(event, kept)


def replay(principal: Principal, event_id: str) -> None:
    """Have an event acted on once more; runs that it has started are not started again."""
    with db.atomic():
        event = WebhookEvent.locked(event_id)
        if event is None:
            raise WebhookEvent.missing(event_id)
        event.put(processed=False, processed_at=None, processing_error=None)
        process.enqueue(event.id)
        audit.record(principal, "webhook.replay", event.id, delivery=event.delivery_id)


def set_secret(principal: Principal, installation_id: int, secret: str) -> WebhookSecret:
    """From now on only this secret signs deliveries of the installation."""
    row = WebhookSecret(installation_id=installation_id)
    row.lock_up(secret=secret)
    with db.atomic():
        others = WebhookSecret.installation_id != installation_id
        if WebhookSecret.select().where(others).count() >= webhooks.MOST_SECRETS:
            raise Conflict(
                f"At most {webhooks.MOST_SECRETS} installations have a secret of their own"
            )
        kept = [WebhookSecret.secret, WebhookSecret.created_at]
        written = WebhookSecret.insert(row.__data__)
        written.on_conflict(
            conflict_target=[WebhookSecret.installation_id], preserve=kept
        ).execute()
        audit.record(principal, "webhook_secret.set", str(installation_id))
    return row


def drop_secret(principal: Principal, installation_id: str) -> None:
    """The App's own secret signs deliveries of the installation again."""
    with db.atomic():
        named = WebhookSecret.installation_id.cast("text") == installation_id
        if not WebhookSecret.delete().where(named).execute():
            raise WebhookSecret.missing(installation_id)
        audit.record(principal, "webhook_secret.delete", installation_id)


def sweep() -> None:
    """Ask again for events whose request got lost, and once in a while for missed deliveries."""
    with db.atomic():
        for event_id in webhooks.unprocessed():
            process.enqueue_once(event_id, event_id)


def ask_for_missed() -> None:
    """Ask for a look at what GitHub could not deliver, once in each slot of time."""
    slot = now_ms() // SLOT_MS
    catch_up.enqueue_once(str(slot), slot)


def _rightly_signed(delivery: Delivery, installation_id: int | None) -> bool:
    if delivery.signed_by is not None:
        return delivery.signed_by == installation_id
    return not webhooks.has_own_secret(installation_id)


def _read(delivery: Delivery) -> WebhookEvent:
    told = delivery.payload
    repository = told.get("repository")
    name = _text(_within(repository, "full_name"), 384)
    return WebhookEvent(
        id=WebhookEvent.id.default(),
        delivery_id=clean(delivery.delivery_id),
        event_type=clean(delivery.event_type),
        action=_text(told.get("action"), 64),
        installation_id=_number(_within(told.get("installation"), "id")),
        repository_full_name=name,
        repository_key=name and name.lower(),
        repository_id=_number(_within(repository, "id")),
        sender_login=_text(_within(told.get("sender"), "login"), IDENTIFIER),
        payload=told,
    )


def _within(part: Any, name: str) -> Any:
    return part.get(name) if isinstance(part, Mapping) else None


def _text(value: Any, most: int) -> str | None:
    return clean(value)[:most] if isinstance(value, str) else None


def _number(value: Any) -> int | None:
    fits = isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63
    return value if fits else None
