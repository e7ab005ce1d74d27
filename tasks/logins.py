"""Logging in and staying so: the first account, passwords, refresh tokens, the end of logins."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Any

from models import audit, passwords, waitlist
from models.accounts import (
    LOGIN_BYTES,
    Challenge,
    RefreshToken,
    User,
    UserSession,
    digest,
    plain_email,
    server_key,
    successor,
    users_exist,
)
from models.base import database_ms, db, now_ms
from models.config import settings
from models.errors import Conflict, Forbidden, Unauthenticated
from models.principals import Principal

ADMINS = 0x646A_6164  # the advisory lock of whoever makes or unmakes admins
LONGEST_MS = 30 * 24 * 3_600_000  # a login ends then, however often it was refreshed
GRACE_MS = 10_000  # two tabs refresh with one token
CHALLENGE_MS = 300_000
MOST_LOGINS = 100  # of one person; the least used end
LONGEST_AGENT = 512
WRONG = "Wrong email or password"
DISABLED = "This account is disabled"
OVER = "This login is over; log in again"


@dataclass(frozen=True)
class Origin:
    """Where somebody logs in from."""

    address: str | None = None
    agent: str | None = None


@dataclass(frozen=True)
class Login:
    """Somebody who has logged in, and the token that keeps them so."""

    user: User
    session_id: str
    refresh_token: str


def set_up(form: dict[str, Any], origin: Origin) -> Login:
    """Make the first account, an admin's; Conflict when there is one. Of many at once one does."""
    wanted = settings().setup_token
    if wanted and not secrets.compare_digest(wanted.encode(), form["token"].encode()):
        raise Forbidden("The setup token is not the one in SETUP_TOKEN")
    if users_exist():
        raise _already()
    server_key("logins")
    password_hash = passwords.hashed(form["password"])
    email = plain_email(form["email"])
    name = form.get("display_name") or email.partition("@")[0]
    user = User(email=email, display_name=name, password_hash=password_hash, is_admin=True)
    with db.atomic():
        db.execute_sql("SELECT pg_advisory_xact_lock(%s)", (ADMINS,))
        if users_exist():
            raise _already()
        user.add()
        waitlist.registered(email)
        login = begin(user, origin)
        audit.record(user.principal(), "user.set_up", user.id)
    return login


def log_in(email: str, password: str, origin: Origin) -> Login | Challenge:
    """Open a login, or ask for the second factor.

    Raises Unauthenticated, in the same words and after the same work whether the address, the
    password or only the person is unknown.
    """
    server_key("logins")
    user = User.named(email)
    stored = user.password_hash if user else None
    if not passwords.matches(stored, password) or user is None or stored is None:
        raise Unauthenticated(WRONG)
    renewed = passwords.hashed(password) if passwords.outdated(stored) else stored
    with db.atomic():
        found = User.locked(user.id)
        if found is None or found.password_hash != stored:
            raise Unauthenticated(WRONG)
        if renewed != stored:
            found.put(password_hash=renewed)
        return admit(found, origin)


def admit(user: User, origin: Origin) -> Login | Challenge:
    """Let somebody in who has proven who they are, if the second factor does not miss.

    Runs in a transaction that has locked the user.
    """
    if not user.is_active:
        raise Unauthenticated(DISABLED)
    if not user.totp_enabled:
        return begin(user, origin)
    return Challenge(user_id=user.id, expires_at=now_ms() + CHALLENGE_MS).add()


def begin(user: User, origin: Origin) -> Login:
    """Open a login, in the current transaction."""
    now = now_ms()
    session = UserSession(
        user_id=user.id,
        ip_address=origin.address,
        user_agent=origin.agent and origin.agent[:LONGEST_AGENT],
        expires_at=min(now + settings().refresh_seconds * 1000, now + LONGEST_MS),
        ends_at=now + LONGEST_MS,
    ).add()
    token = secrets.token_urlsafe(LOGIN_BYTES)
    RefreshToken(hash=digest(token), session_id=session.id).add()
    db.later(_FORGET_LEAST_USED, (user.id, MOST_LOGINS))
    return Login(user, session.id, token)


def refresh(token: str) -> Login:
    """Go on with a login: its token is used up, the one that follows keeps it.

    Whoever comes with the same token within seconds gets the same answer: two tabs do. Later
    somebody has it who should not: the login ends for both. Raises Unauthenticated.
    """
    with db.atomic():
        login = _refreshed(token)
    if login is None:
        raise Unauthenticated(OVER)
    return login


def log_out(principal: Principal, token: str | None) -> None:
    """End the caller's login, and the one that the refresh token is of if it is theirs."""
    known = RefreshToken.known(token) if token else None
    ended = [principal.session_id or "", known.session_id if known else ""]
    mine = UserSession.visible_to(principal).where(UserSession.id.in_(ended))
    UserSession.delete().where(UserSession.id.in_(mine.select(UserSession.id))).execute()


def end(session: UserSession) -> None:
    """End a login: its tokens open nothing any more."""
    UserSession.delete().where(UserSession.id == session.id).execute()


def end_all(user_id: str, but: str | None = None) -> None:
    """End the logins of a person, also those that wait for a second factor, `but` one.

    Runs in a transaction that has locked the user.
    """
    now = now_ms()
    db.later("DELETE FROM user_sessions WHERE user_id = %s AND id <> %s", (user_id, but or ""))
    text = "UPDATE login_challenges SET used_at = %s WHERE user_id = %s AND used_at IS NULL"
    db.later(text, (now, user_id))


def forget_old() -> int:
    """Delete the logins that are over, and challenges that nobody counts any more."""
    now = now_ms()
    gone = UserSession.delete().where(UserSession.expires_at < now).execute()
    return int(gone + Challenge.delete().where(Challenge.expires_at < now - 3_600_000).execute())


def _already() -> Conflict:
    return Conflict("This server is set up already; log in")


def _refreshed(token: str) -> Login | None:
    session = UserSession.locked_by_token(token)
    if session is None:
        return None
    now = database_ms()
    following: str | None = successor(token)
    if RefreshToken.spend(token, now):
        RefreshToken(hash=digest(str(following)), session_id=session.id).add()
    else:
        following = _current(token, now)
    user = User.find(session.user_id)
    if following is None or user is None:
        audit.record(None, "login.token_reused", session.user_id, login=session.id)
        end(session)
        return None
    lasting = settings().refresh_seconds * 1000
    session.put(expires_at=min(now + lasting, session.ends_at), used_at=now)
    db.later(_FORGET_USED, (session.id, now - lasting))
    return Login(user, session.id, following)


def _current(token: str, now: int) -> str | None:
    """The token that keeps a login whose `token` was used a moment ago; None if longer ago."""
    used = RefreshToken.known(token)
    while used is not None and used.used_at is not None and now - used.used_at <= GRACE_MS:
        token = successor(token)
        used = RefreshToken.known(token)
    return token if used is not None and used.used_at is None else None


_FORGET_LEAST_USED = """
    DELETE FROM user_sessions WHERE id IN (
        SELECT id FROM user_sessions WHERE user_id = %s ORDER BY used_at DESC, id OFFSET %s)
"""
_FORGET_USED = "DELETE FROM refresh_tokens WHERE session_id = %s AND used_at < %s"
