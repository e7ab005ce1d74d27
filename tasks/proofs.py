"""Proving again who one is: by a login, a password or a code, and not too often wrongly.

Wrong proofs are counted in Postgres under the user's row lock, so that neither a Redis that is
away nor many tries at once let anybody guess more than they may.
"""

from __future__ import annotations

from peewee import fn

from models import passwords
from models.accounts import Challenge, User
from models.base import now_ms
from models.errors import Forbidden, Malformed, TooMany
from models.principals import Principal

HOURLY = 20  # wrong proofs of one person
HOUR_MS = 3_600_000


def person(principal: Principal) -> User:
    """The caller's account under its row lock; raises Malformed where there cannot be one."""
    if not principal.is_person and principal.kind != "anonymous":
        raise Malformed("Only a person has an account; this is the key of a program")
    user = User.locked(principal.id)
    if user is None:
        raise User.missing(principal.id)
    return user


def logged_in(principal: Principal) -> User:
    """The same, of somebody who has logged in: a key may be lost, and must not lock them out."""
    if principal.is_person and principal.session_id is None:
        raise Forbidden("Log in to do this; a key may not")
    return person(principal)


def knows(principal: Principal, password: str | None) -> str | None:
    """The hash of the caller's password, if this is it. Slow: ask outside of transactions."""
    user = User.find(principal.id) if password else None
    stored = user.password_hash if user else None
    return stored if passwords.matches(stored, password or "") else None


def allow(user: User) -> None:
    """Raise TooMany when a person has given as many wrong proofs lately as they may."""
    now = now_ms()
    lately = (Challenge.user == user.id) & (Challenge.created_at > now - HOUR_MS)
    told = Challenge.select(fn.sum(Challenge.tries), fn.min(Challenge.created_at))
    tries, oldest = told.where(lately & (Challenge.tries > 0)).tuples().first()
    if (tries or 0) >= HOURLY:
        after = (oldest + HOUR_MS - now) // 1000 + 1
        raise TooMany("Too many wrong codes or passwords; try again later", after=after)


def note_failure(user: User) -> None:
    """Count a wrong proof that no challenge counts."""
    now = now_ms()
    Challenge(user_id=user.id, tries=1, used_at=now, created_at=now, expires_at=now).add()
