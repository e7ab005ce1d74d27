"""The waitlist: who would like an account, who was invited, and who came."""

from __future__ import annotations

import secrets
from typing import Any, Self

from peewee import CharField

from models.accounts import DIGEST, LONGEST_EMAIL, digest
from models.base import Moment, db, id_field, now_ms
from models.errors import Malformed
from models.lifecycle import StateField, Stateful
from models.principals import Principal

WAITING, INVITED, REGISTERED = "waiting", "invited", "registered"
TOKEN_BYTES = 32
INVITED_FOR_MS = 7 * 24 * 3_600_000
MOST = 50_000  # people; who comes later is told the same and not written down


class Entry(Stateful):
    """Somebody who asked for an account; of an invitation's token only the digest is kept."""

    label = "Waitlist entry"

    id = id_field("wl_")
    email = CharField(max_length=LONGEST_EMAIL, unique=True)  # in lower case
    state = StateField(
        {WAITING: {INVITED, REGISTERED}, INVITED: {INVITED, REGISTERED}, REGISTERED: set()}
    )
    token_hash = CharField(max_length=DIGEST, null=True, unique=True)
    token_ends_at = Moment(null=True)
    invited_at = Moment(null=True)
    registered_at = Moment(null=True)
    created_at = Moment(default=now_ms)
    updated_at = Moment(default=now_ms)

    class Meta:
        table_name = "waitlist_entries"
        indexes = ((("created_at", "id"), False),)

    @classmethod
    def visible_to(cls, principal: Principal) -> Any:
        """Admins."""
        return cls.select() if principal.is_admin else cls.select().where(False)

    @classmethod
    def locked(cls, entry_id: str) -> Self:
        """The entry under its row lock; NotFound when it is gone."""
        for row in cls.read("SELECT * FROM waitlist_entries WHERE id = %s FOR UPDATE", entry_id):
            return row
        raise cls.missing(entry_id)

    @classmethod
    def bearing(cls, token: str) -> Self:
        """Whom this invitation is for, under the row lock; Malformed when it is worth nothing."""
        text = """
            SELECT * FROM waitlist_entries
            WHERE token_hash = %s AND token_ends_at > %s AND state <> 'registered' FOR UPDATE
        """
        for row in cls.read(text, digest(token), now_ms()):
            return row
        raise Malformed("This invitation is unknown, was used already, or is too old")

    def draw_token(self) -> str:
        """A new token for this person; the one before opens nothing from now on."""
        token = secrets.token_urlsafe(TOKEN_BYTES)
        self.put(token_hash=digest(token), token_ends_at=now_ms() + INVITED_FOR_MS)
        return token


def join(email: str) -> None:
    """Put somebody on the list, once, however often they ask."""
    db.now(
        """
        INSERT INTO waitlist_entries (id, email, state, created_at, updated_at)
        SELECT %(id)s, %(email)s, 'waiting', %(now)s, %(now)s
        WHERE %(most)s > (
            SELECT count(*) FROM (SELECT FROM waitlist_entries LIMIT %(most)s) AS known)
        ON CONFLICT DO NOTHING
        """,
        {"id": Entry.id.default(), "email": email, "now": now_ms(), "most": MOST},
    )


def invited(entry_id: str) -> None:
    """Their invitation has left; who registered meanwhile stays registered."""
    entry = Entry.find(entry_id)
    if entry is not None and entry.state != REGISTERED:
        entry.move(INVITED, invited_at=now_ms())


def registered(email: str) -> None:
    """Whoever has this address has an account now; part of the transaction that makes it."""
    closed = {"registered_at": now_ms(), "token_hash": None, "token_ends_at": None}
    Entry.move_all(REGISTERED, "email", [email], **closed)
