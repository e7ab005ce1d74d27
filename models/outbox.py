"""Requests waiting to be handed to the broker or the streams: what committed, and only that."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from peewee import BigAutoField, BigIntegerField, CharField

from models.base import CLOCK, JsonField, Model, Moment, db, dumps
from models.failures import HOPELESS, LONGEST_WAIT

CHANNEL = "djinn_outbox"
EVENTS = "events"  # the queue name of what goes to the streams instead of the broker
LARGEST = 64 * 1024  # bytes of an event's data that the streams carry; Redis keeps thousands
STREAMED = f"""CASE WHEN octet_length(data::text) <= {LARGEST} THEN data ELSE (
    SELECT coalesce(jsonb_object_agg(key, value), '{{}}') || '{{"truncated": true}}'
    FROM jsonb_each(data) WHERE octet_length(value::text) <= 1024) END"""  # noqa: S608


class Outbox(Model):
    """One request: a task for `queue`, or an event for the streams, not before `due_at` (ms)."""

    id = BigAutoField()
    queue = CharField(max_length=64)
    body = JsonField()
    due_at = BigIntegerField(default=0)
    asked_at = Moment()  # the database says when
    unique_key = CharField(max_length=256, null=True, unique=True)

    class Meta:
        indexes = ((("due_at", "id"), False),)


def ask(
    queue: str, body: Mapping[str, Any], due_at: int = 0, unique_key: str | None = None
) -> None:
    """Put a request in the current transaction; one with the same `unique_key` is kept once."""
    db.later(
        """
        INSERT INTO outbox (queue, body, due_at, unique_key) VALUES (%s, %s, %s, %s)
        ON CONFLICT DO NOTHING
        """,
        (queue, dumps(body), due_at, unique_key),
    )
    ring()


def ask_later(queue: str, body: Mapping[str, Any], after_ms: int) -> None:
    """Put a request in the current transaction that is due so long after now."""
    text = f"INSERT INTO outbox (queue, body, due_at) VALUES (%s, %s, {CLOCK} + %s)"  # noqa: S608
    db.later(text, (queue, dumps(body), after_ms))


def ask_again(queue: str, body: Mapping[str, Any], unique_key: str, failure: str) -> None:
    """The same for what a sweep misses, unless it has failed so often (the id of its row in
    `failures`) that it is tried on its schedule only, and then now and again."""
    values = {"queue": queue, "body": dumps(body), "key": unique_key, "failure": failure}
    db.later(_ASK_AGAIN, values)
    ring()


_ASK_AGAIN = f"""
    INSERT INTO outbox (queue, body, due_at, unique_key)
    SELECT %(queue)s::text, %(body)s::jsonb, 0, %(key)s::text
    WHERE NOT EXISTS (
        SELECT FROM failures WHERE id = %(failure)s AND tries >= {HOPELESS}
            AND (due_at IS NOT NULL OR failed_at > {CLOCK} - {LONGEST_WAIT * 1000}))
    ON CONFLICT DO NOTHING
"""  # noqa: S608


def ring() -> None:
    """Wake the relay once the current transaction has committed.

    The relay also looks by itself, so a lost bell costs little.
    """
    db.notify(CHANNEL)


def take(limit: int) -> list[tuple[str, Any]]:
    """Remove up to `limit` due requests, oldest first, in the current transaction.

    Its commit need not wait for the disk: a removal that gets lost hands them out twice. Redis may
    take its time before it.
    """
    rows = db.execute_sql(
        """
        SET LOCAL synchronous_commit TO off;
        SET LOCAL idle_in_transaction_session_timeout TO 8000;
        WITH due AS (
            SELECT id FROM outbox
            WHERE due_at <= (extract(epoch FROM clock_timestamp()) * 1000)::bigint
            ORDER BY id LIMIT %s FOR UPDATE SKIP LOCKED
        )
        DELETE FROM outbox USING due WHERE outbox.id = due.id
        RETURNING outbox.id, outbox.queue, outbox.body
        """,
        (limit,),
    )
    return [(queue, body) for _, queue, body in sorted(rows, key=lambda row: row[0])]
