"""Jobs that failed: what was asked, why, and when it is tried again. No dead letters."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from peewee import CharField, IntegerField

from models.base import CLOCK, JsonField, LongText, Model, Moment, db, dumps

MOST_TRIES = 10  # after that only a person can help; the row stays
LONGEST_WAIT = 300  # seconds between two tries; they begin with one and double
HOPELESS = 3  # tries after which only the schedule asks again, and no sweep besides
LOST_MS = 60_000  # a try that was asked for and left no trace in this time is asked for again
AFTERWARDS = f"""
    tries = failures.tries + 1, failed_at = {CLOCK},
    due_at = CASE WHEN failures.tries + 1 < {MOST_TRIES}
        THEN {CLOCK} + 1000 * least(power(2, failures.tries), {LONGEST_WAIT})::bigint END
"""


class Failure(Model):
    """One request whose job raised or lost its worker; without `due_at` it was given up."""

    id = CharField(max_length=64, primary_key=True)  # the digest of task and arguments
    queue = CharField(max_length=64)
    task = CharField(max_length=128)
    arguments = JsonField()  # {"args": [...], "kwargs": {...}}
    tries = IntegerField()
    error = LongText()
    failed_at = Moment()
    due_at = Moment(null=True, index=True)

    class Meta:
        table_name = "failures"


def note(queue: str, task: str, arguments: Mapping[str, Any], error: str) -> str:
    """Write down that a job failed, and when to try it again; gives the row's id."""
    request, key = dumps(arguments), key_of(task, arguments)
    db.execute_sql(
        f"""
        INSERT INTO failures (id, queue, task, arguments, tries, error, failed_at, due_at)
        VALUES (%s, %s, %s, %s, 1, %s, {CLOCK}, {CLOCK} + 1000)
        ON CONFLICT (id) DO UPDATE SET error = excluded.error, {AFTERWARDS}
        """,  # noqa: S608
        (key, queue, task, request, Failure.error.db_value(error)),
    )
    return key


def key_of(task: str, arguments: Mapping[str, Any]) -> str:
    """The id of the row that a request has when it fails: equal requests have one."""
    return hashlib.sha256(f"{task} {dumps(arguments)}".encode()).hexdigest()


def repeated(key: str, error: str) -> None:
    """Write down that the job of a row failed once more."""
    text = f"UPDATE failures SET error = %s, {AFTERWARDS} WHERE id = %s"  # noqa: S608
    db.execute_sql(text, (Failure.error.db_value(error), key))


def due(limit: int = 100) -> Sequence[tuple[str, str]]:
    """Ids and queues of what is to be tried again now; each is given out once, for a while."""
    rows = db.execute_sql(
        f"""
        UPDATE failures SET due_at = {CLOCK} + %s WHERE id = ANY(ARRAY(
            SELECT id FROM failures WHERE due_at <= {CLOCK}
            ORDER BY due_at LIMIT %s FOR UPDATE SKIP LOCKED))
        RETURNING id, queue
        """,  # noqa: S608
        (LOST_MS, limit),
    )
    return [(key, queue) for key, queue in rows]
