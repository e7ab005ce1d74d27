"""Idempotency keys: the same request asked twice is answered with the same run."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from peewee import CharField, CompositeKey

from models.base import IDENTIFIER, Model, Moment, db, now_ms
from models.errors import Conflict

KEPT_MS = 24 * 60 * 60 * 1000


class IdempotencyKey(Model):
    """Which run a caller's key led to, and a digest of the body it was asked with."""

    owner_id = CharField(max_length=IDENTIFIER)
    key = CharField(max_length=255)
    digest = CharField(max_length=64)
    run_id = CharField(max_length=IDENTIFIER)
    created_at = Moment(default=now_ms, index=True)

    class Meta:
        table_name = "idempotency_keys"
        primary_key = CompositeKey("owner_id", "key")


def digest(body: dict[str, Any]) -> str:
    """A body's fingerprint, whatever the order of its keys and of those within."""
    text = json.dumps(body, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def claim(owner_id: str, key: str, body: dict[str, Any], run_id: str) -> str:
    """Bind the key to `run_id`, or give the run it is bound to; Conflict for another body.

    Runs in the transaction that makes the run: a second request with the key waits for it.
    """
    fingerprint = digest(body)
    rows = db.execute_sql(
        """
        INSERT INTO idempotency_keys (owner_id, key, digest, run_id, created_at)
        VALUES (%(owner)s, %(key)s, %(digest)s, %(run)s, %(now)s)
        ON CONFLICT (owner_id, key) DO UPDATE SET
            digest = CASE WHEN idempotency_keys.created_at < %(old)s
                THEN excluded.digest ELSE idempotency_keys.digest END,
            run_id = CASE WHEN idempotency_keys.created_at < %(old)s
                THEN excluded.run_id ELSE idempotency_keys.run_id END,
            created_at = CASE WHEN idempotency_keys.created_at < %(old)s
                THEN excluded.created_at ELSE idempotency_keys.created_at END
        RETURNING digest, run_id
        """,
        {
            "owner": owner_id,
            "key": key,
            "digest": fingerprint,
            "run": run_id,
            "now": now_ms(),
            "old": now_ms() - KEPT_MS,
        },
    ).fetchall()
    kept, bound = rows[0]
    if kept != fingerprint:
        raise Conflict("This Idempotency-Key was used with another request body")
    return str(bound)


def forget_old() -> int:
    """Delete the keys that are older than a day."""
    return int(
        IdempotencyKey.delete().where(IdempotencyKey.created_at < now_ms() - KEPT_MS).execute()
    )
