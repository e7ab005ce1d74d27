"""Webhooks: what GitHub has told us, once each, and what it could not deliver."""

from __future__ import annotations

import hashlib
import hmac
import re
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from peewee import BigIntegerField, BooleanField, CharField, IntegerField

from models.base import IDENTIFIER, JsonField, LongText, Model, Moment, db, now_ms
from models.github import Connection
from models.logs import log
from models.principals import Principal
from models.vault import Sealed, Unreadable, Vaulted

KEPT_MS = 35 * 86_400_000  # no delivery id may come again for at least 30 days: nothing is dated
MOST_SECRETS = 20  # installations with a secret of their own; each costs a pass over a body
UNPROCESSED_MS = 30_000  # after which an event is asked for again
SIGNATURE = re.compile(r"sha256=[0-9a-f]{64}", re.I | re.A)
WINDOW_MS, MOST_IN_WINDOW = 60_000, 1_000  # how many events of one installation are taken in


class WebhookEvent(Model):
    """One verified delivery. `processed` says that everything it asks for has been done."""

    label = "Webhook event"

    id = CharField(max_length=IDENTIFIER, primary_key=True, default=lambda: str(uuid.uuid4()))
    delivery_id = CharField(max_length=IDENTIFIER, unique=True)
    event_type = CharField(max_length=64)
    action = CharField(max_length=64, null=True)
    installation_id = BigIntegerField(null=True)
    repository_full_name = CharField(max_length=384, null=True)
    repository_key = CharField(max_length=384, null=True)  # the full name in lower case
    repository_id = BigIntegerField(null=True)
    sender_login = CharField(max_length=128, null=True)
    payload = JsonField()
    verified = BooleanField(default=True)
    processed = BooleanField(default=False)
    processing_error = LongText(null=True)
    received_at = Moment(default=now_ms)
    processed_at = Moment(null=True)

    class Meta:
        table_name = "webhook_events"
        indexes = (
            (("received_at", "id"), False),
            (("event_type", "received_at", "id"), False),
            (("repository_key", "received_at", "id"), False),
            (("installation_id", "received_at"), False),
        )

    @classmethod
    def visible_to(cls, principal: Principal) -> Any:
        """Admins; a project's members see those of its repository in the project's own log."""
        return cls.select() if principal.is_admin else cls.select().where(False)

    @classmethod
    def about(cls, connection: Connection | None) -> Any:
        """What was told of a project's repository since it is the project's."""
        query = cls.select(*(field for field in cls._meta.sorted_fields if field.name != "payload"))
        if connection is None:
            return query.where(False)
        here = cls.repository_key == connection.repo_key
        return query.where(here & (cls.received_at >= connection.connected_at))

    @classmethod
    def locked(cls, event_id: str) -> Self | None:
        """The event under its row lock, without its payload."""
        text = f"SELECT {_BARE} FROM webhook_events WHERE id = %s FOR NO KEY UPDATE"  # noqa: S608
        return next(iter(cls.read(text, event_id)), None)

    def add_once(self) -> str:
        """Insert the event, or find the one with its delivery id: the id of what is there."""
        statement, values = self.insertion()
        text = f"{statement} ON CONFLICT (delivery_id) DO NOTHING RETURNING id"
        found = db.now(text, values).fetchone() or self._first()
        return str(found[0])

    def _first(self) -> Any:
        text = "SELECT id FROM webhook_events WHERE delivery_id = %s"
        return db.now(text, (self.delivery_id,)).fetchone()


_BARE = ", ".join(
    field.column_name for field in WebhookEvent._meta.sorted_fields if field.name != "payload"
)


class WebhookSecret(Vaulted):
    """The secret of an installation that does not share the App's."""

    label = "Webhook secret of installation"

    installation_id = BigIntegerField(primary_key=True)
    secret = Sealed()
    created_at = Moment(default=now_ms)

    class Meta:
        table_name = "webhook_secrets"

    @classmethod
    def visible_to(cls, principal: Principal) -> Any:
        """Admins."""
        return cls.select() if principal.is_admin else cls.select().where(False)


class MissedDelivery(Model):
    """A delivery that failed and that we have asked GitHub to try again, or are about to."""

    guid = CharField(max_length=IDENTIFIER, primary_key=True)
    delivery = BigIntegerField()  # GitHub's number of the latest try
    tries = IntegerField(default=0)  # of ours, to have it sent again
    due_at = Moment(default=now_ms, index=True)
    failed_at = Moment()

    class Meta:
        table_name = "webhook_misses"


class DeliverySweep(Model):
    """How far GitHub's list of deliveries has been read."""

    id = IntegerField(primary_key=True, default=1)
    seen_until = Moment()

    class Meta:
        table_name = "webhook_sweeps"


@dataclass(frozen=True)
class Delivery:
    """A delivery whose signature holds; `signed_by` is the installation whose own secret it was."""

    event_type: str
    delivery_id: str
    payload: Mapping[str, Any]
    signed_by: int | None = None


class Verifier:
    """Checks a signature over bytes as they come, under every secret that may have made it."""

    def __init__(self, secrets: Sequence[tuple[int | None, str]]) -> None:
        self._running = [
            (whose, hmac.new(secret.encode(), digestmod=hashlib.sha256))
            for whose, secret in secrets
        ]

    def update(self, chunk: bytes) -> None:
        for _, running in self._running:
            running.update(chunk)

    def match(self, header: str) -> tuple[bool, int | None]:
        """Whether a secret made this `X-Hub-Signature-256`, and whose it was (None: the App's).

        All are compared, each in constant time.
        """
        if not SIGNATURE.fullmatch(header):
            return False, None
        told = header.partition("=")[2].lower().encode()
        fitting = [
            whose
            for whose, running in self._running
            if hmac.compare_digest(running.hexdigest().encode(), told)
        ]
        return bool(fitting), next(iter(fitting), None)


def secrets(of_app: Iterable[str]) -> list[tuple[int | None, str]]:
    """Every secret that may sign a delivery, and whose it is: the App's, then installations'.

    One that does not open verifies nothing, and keeps no others from being verified.
    """
    known: list[tuple[int | None, str]] = [(None, secret) for secret in of_app]
    for row in WebhookSecret.select().order_by(WebhookSecret.installation_id).limit(MOST_SECRETS):
        try:
            known.append((row.installation_id, str(row.reveal("secret"))))
        except Unreadable as error:
            log.warning("webhook secret does not open", error=str(error))
    return known


def has_own_secret(installation_id: int | None) -> bool:
    """Whether deliveries of this installation must be signed with a secret of its own."""
    return WebhookSecret.select().where(WebhookSecret.installation_id == installation_id).exists()


def crowded(installation_id: int | None) -> bool:
    """Whether an installation has told us as much in the last minute as we take in."""
    text = """
        SELECT count(*) FROM (
            SELECT 1 FROM webhook_events WHERE installation_id IS NOT DISTINCT FROM %s
                AND received_at > %s LIMIT %s) AS lately
    """
    row = db.now(text, (installation_id, now_ms() - WINDOW_MS, MOST_IN_WINDOW)).fetchone()
    return int(row[0]) >= MOST_IN_WINDOW


def unprocessed() -> list[str]:
    """Events whose request got lost on its way; those that failed are tried again as failures."""
    text = """
        SELECT id FROM webhook_events
        WHERE NOT processed AND processing_error IS NULL AND received_at < %s
        ORDER BY received_at LIMIT 200
    """
    return [row[0] for row in db.now(text, (now_ms() - UNPROCESSED_MS,))]


def forget_old() -> int:
    """Delete what was received so long ago that nobody can send it again."""
    old = WebhookEvent.received_at < now_ms() - KEPT_MS
    return int(WebhookEvent.delete().where(old).execute())
