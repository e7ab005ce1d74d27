"""The audit log: who changed what of accounts, keys, secrets, grants and settings.

Entries are written in the transaction of the change they tell of. Each holds the SHA-256 of its
own text and of the entry before, so that nothing in the middle can be altered, taken out or put in
without every later digest being wrong; the database refuses UPDATE and DELETE as well. Secrets
are never part of an entry.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from peewee import BigIntegerField, CharField

from models.base import IDENTIFIER, JsonField, Model, Moment, db, dumps, now_ms
from models.principals import Principal

LOCK = 0x646A_6175  # the advisory lock of whoever appends
BEGINNING = "0" * 64  # what the first entry follows
BATCH = 1_000


class Entry(Model):
    """One change; `seq` counts 1, 2, 3 ... without gaps."""

    label = "Audit entry"

    seq = BigIntegerField(primary_key=True)
    at = Moment()
    actor = CharField(max_length=IDENTIFIER)
    action = CharField(max_length=64)  # noun.verb
    subject = CharField(max_length=IDENTIFIER)  # the id of what was changed
    details = JsonField()
    digest = CharField(max_length=64)

    class Meta:
        table_name = "audit_log"
        indexes = (
            (("actor", "seq"), False),
            (("subject", "seq"), False),
            (("action", "seq"), False),
            (("at",), False),
        )

    @classmethod
    def visible_to(cls, principal: Principal) -> Any:
        """Admins."""
        return cls.select() if principal.is_admin else cls.select().where(False)

    def follows(self, before: str) -> str:
        """The digest this entry must have after the one with digest `before`."""
        told = (self.seq, self.at, self.actor, self.action, self.subject, _sorted(self.details))
        return hashlib.sha256(f"{before}\n{dumps(told)}".encode()).hexdigest()


@dataclass(frozen=True)
class Finding:
    """Where the chain breaks, or how far it holds: `broken` is None when it does.

    `complete`: the entry that was asked for is in it.
    """

    entries: int
    head: str
    broken: int | None = None
    complete: bool = True


def record(principal: Principal | None, action: str, subject: str, **details: Any) -> None:
    """Append an entry in the current transaction; nobody is `system`.

    Others who append wait for the commit: call it late in the transaction.
    """
    db.execute_sql("SELECT pg_advisory_xact_lock(%s)", (LOCK,))
    last = Entry.select(Entry.seq, Entry.digest).order_by(Entry.seq.desc()).first()
    entry = Entry(
        seq=last.seq + 1 if last else 1,
        at=now_ms(),
        actor=principal.id if principal else "system",
        action=action,
        subject=subject[:IDENTIFIER],
        details=details,
    )
    entry.digest = entry.follows(last.digest if last else BEGINNING)
    entry.add()


def verify(known: str | None = None) -> Finding:
    """Go through the whole chain; names the first entry that is not what it was.

    `known` is a head that was noted before: without it nobody could tell that the end of the chain
    was cut off, or all of it written anew.
    """
    before, count, complete = BEGINNING, 0, known in (None, BEGINNING)
    for entry in _all():
        if entry.seq != count + 1 or entry.digest != entry.follows(before):
            return Finding(count, before, entry.seq, complete)
        before, count = entry.digest, count + 1
        complete = complete or before == known
    return Finding(count, before, None, complete)


def _all() -> Iterator[Entry]:
    seq = 0
    while rows := list(Entry.select().where(Entry.seq > seq).order_by(Entry.seq).limit(BATCH)):
        yield from rows
        seq = rows[-1].seq


def _sorted(value: Any) -> Any:
    """The value with its keys in order: JSONB keeps an order of its own."""
    if isinstance(value, dict):
        return {key: _sorted(value[key]) for key in sorted(value)}
    return [_sorted(item) for item in value] if isinstance(value, list) else value
