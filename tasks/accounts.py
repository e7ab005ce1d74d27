"""Changing accounts: who has one, what they may, how they are reached, and their password."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import peewee

from models import audit, passwords, waitlist
from models.accounts import ApiKey, User, plain_email
from models.base import db, now_ms
from models.errors import Conflict, Forbidden, Invalid, Malformed, NotFound, Unauthenticated
from models.principals import Principal
from tasks import logins
from tasks.proofs import allow, knows, logged_in, note_failure

OWN = ("display_name", "slack_id", "discord_id", "phone_number")  # what a person may change
RIGHTS = ("is_admin", "is_active")
TAKEN = {
    "users_email": "There is an account with this email already",
    "users_slack_id": "Another account has this Slack id",
    "users_discord_id": "Another account has this Discord id",
    "users_phone_number": "Another account has this phone number",
}


def create(principal: Principal | None, form: Mapping[str, Any]) -> User:
    """Make an account; Conflict when somebody has the email already."""
    user = prepared(form)
    with claiming(), db.atomic():
        enter(principal, user)
    return user


def prepared(form: Mapping[str, Any]) -> User:
    """An account that is still to be entered: hashing its password takes a while."""
    columns = {name: form.get(name) for name in ("display_name", "is_admin")}
    password_hash = passwords.hashed(form["password"])
    return User(email=plain_email(form["email"]), password_hash=password_hash, **columns)


def enter(principal: Principal | None, user: User) -> None:
    """Enter an account, in the current transaction; whoever waited for one waits no longer."""
    user.add()
    waitlist.registered(user.email)
    told = {"email": user.email, "is_admin": user.is_admin}
    audit.record(principal, "user.created", user.id, **told)


def change(principal: Principal, user_id: str, form: Mapping[str, Any]) -> User:
    """Change what is named; rights and passwords only as an admin, and never one's own.

    Who is disabled is logged out and loses their keys for good. The last admin stays one.
    """
    changes = {name: form[name] for name in (*OWN, *RIGHTS) if name in form}
    if form.get("password"):
        changes["password_hash"] = passwords.hashed(form["password"])
    with claiming(), db.atomic():
        if not changes.keys().isdisjoint(RIGHTS):
            db.execute_sql("SELECT pg_advisory_xact_lock(%s)", (logins.ADMINS,))
        user = User.locked(user_id)
        if user is None:
            raise User.missing(user_id)
        changes = {name: new for name, new in changes.items() if new != getattr(user, name)}
        _check(principal, user, changes)
        if changes:
            _apply(principal, user, changes)
    return user


def deactivate(principal: Principal, user_id: str) -> User:
    """Disable an account; what it made stays."""
    return change(principal, user_id, {"is_active": False})


def change_password(principal: Principal, current: str, new: str) -> None:
    """Replace the caller's password and end their other logins; raises Unauthenticated."""
    stored = knows(principal, current)
    password_hash = passwords.hashed(new)
    with db.atomic():
        user = logged_in(principal)
        if user.password_hash is None:
            raise Malformed("This account has no password: it comes in through a provider")
        allow(user)
        done = stored == user.password_hash
        if done:
            user.put(password_hash=password_hash, updated_at=now_ms())
            logins.end_all(user.id, but=principal.session_id)
            audit.record(principal, "user.password_changed", user.id)
        else:
            note_failure(user)
    if not done:
        raise Unauthenticated("The current password is wrong")


def linked(column: Any, value: str) -> User:
    """Who has linked their account in another system; raises NotFound."""
    found: User | None = User.select().where((column == value) & User.is_active).first()
    if found is None:
        raise NotFound(f"Nobody has linked {value}")
    return found


def _check(principal: Principal, user: User, changes: Mapping[str, Any]) -> None:
    """Whether the caller may make these changes, and somebody is left to undo them."""
    graver = set(changes) - set(OWN)
    if graver and not principal.is_admin:
        raise Forbidden("Only an admin may change this")
    losing = False in (changes.get("is_admin"), changes.get("is_active"))
    if principal.id == user.id and losing:
        raise Malformed("You cannot take your own rights; another admin can")
    if principal.id == user.id and "password_hash" in changes:
        raise Malformed("Change your own password with POST /v1/auth/password")
    if losing and user.is_admin and user.is_active and not _other_admins(user):
        raise Conflict("This is the last active admin; make another one first")


def _other_admins(user: User) -> bool:
    others = User.is_admin & User.is_active & (User.id != user.id)
    return bool(User.select().where(others).exists())


def _apply(principal: Principal, user: User, changes: dict[str, Any]) -> None:
    user.put(**changes, updated_at=now_ms())
    shut = changes.get("is_active") is False
    if shut or "password_hash" in changes:
        logins.end_all(user.id)
    if shut:
        ApiKey.update(is_active=False).where(ApiKey.user == user.id).execute()
    told = {name: changes[name] for name in RIGHTS if name in changes}
    audit.record(principal, "user.changed", user.id, columns=sorted(changes), **told)


@contextmanager
def claiming() -> Iterator[None]:
    """Say of what is unique whose it is already."""
    try:
        yield
    except peewee.IntegrityError as error:
        broken = error.__context__ or error
        name = getattr(getattr(broken, "diag", None), "constraint_name", None)
        if name == "users_email_lower":
            fault = {"loc": ["body", "email"], "msg": "Not an email address.", "type": "invalid"}
            raise Invalid("email: Not an email address.", errors=[fault]) from None
        if name not in TAKEN:
            raise
        raise Conflict(TAKEN[name]) from None
