"""Logging in by an identity provider: the way there and back, and whose account it is."""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import peewee

from models import audit, openid, waitlist
from models.accounts import (
    LONGEST_EMAIL,
    LONGEST_NAME,
    User,
    digest,
    plain_email,
    server_key,
    users_exist,
)
from models.base import db, now_ms
from models.config import settings
from models.errors import Conflict, Forbidden, Malformed
from models.oidc import LOGIN_MS, Identity, OidcLogin, OidcProvider
from tasks import logins, oidc

STATE_BYTES, VERIFIER_BYTES = 32, 64
OVER = "This login is over or was begun elsewhere; start it again"
UNUSABLE = "The identity provider does not vouch for an email address that this account could have"


@dataclass(frozen=True)
class Beginning:
    """How somebody begins to log in: where they come back to, in which browser, and go on to."""

    redirect_uri: str
    browser: str | None = None
    next_path: str | None = None


@dataclass(frozen=True)
class Return:
    """What somebody brings back from a provider: a code or an error, and the state they left with.

    `issuer` is who the provider says it is (RFC 9207), `browser` what the browser kept.
    """

    state: str
    code: str | None = None
    error: str | None = None
    issuer: str | None = None
    browser: str | None = None


@dataclass(frozen=True)
class Arrival:
    """Somebody who has come back: logged in or asked for the second factor, and where they go."""

    admitted: Any
    next_path: str | None


def begin(slug: str, way: Beginning) -> tuple[str, str]:
    """Begin to log in: the state of the login, and where to go for it."""
    server_key("logins")  # else nobody could come back
    provider = OidcProvider.offered(slug)
    metadata = oidc.metadata(provider)
    state, verifier = secrets.token_urlsafe(STATE_BYTES), secrets.token_urlsafe(VERIFIER_BYTES)
    login = OidcLogin(
        state_hash=digest(state),
        provider=provider.id,
        redirect_uri=way.redirect_uri,
        browser_hash=way.browser and digest(way.browser),
        next_path=way.next_path,
        expires_at=now_ms() + LOGIN_MS,
    )
    login.lock_up(verifier=verifier)
    login.add()
    client = _client(provider, way.redirect_uri, verifier)
    return state, openid.authorization_url(metadata, client, state)


def finish(slug: str, back: Return, origin: logins.Origin) -> Arrival:
    """Log in whom the provider has named, or ask for their second factor.

    Whatever comes of it, the state is used up. Raises Malformed, Unreachable, and Forbidden for
    an account that is disabled.
    """
    login = OidcLogin.take(back.state)
    provider = OidcProvider.offered(slug)
    if login is None or login.provider_id != provider.id or not _same_browser(login, back):
        raise Malformed(OVER)
    if back.error is not None or not back.code:
        raise Malformed("The identity provider did not let you in")
    metadata = oidc.metadata(provider)
    if back.issuer != metadata.issuer and (back.issuer is not None or metadata.names_itself):
        raise openid.Untrusted  # a code of another provider (RFC 9207)
    client = _client(provider, login.redirect_uri, login.reveal("verifier") or "")
    person = openid.identified(metadata, client, back.code)
    with _alone(), db.atomic():
        user = _account(OidcProvider.held(provider.id), person)
        if not user.is_active:
            raise Forbidden(logins.DISABLED)
        return Arrival(logins.admit(user, origin), login.next_path)


def _same_browser(login: OidcLogin, back: Return) -> bool:
    """Whether who comes back is who left, so that nobody is logged in as somebody else."""
    left, came = login.browser_hash or "", digest(back.browser or "")
    return not left or hmac.compare_digest(left, came)


def _account(provider: OidcProvider, person: openid.Person) -> User:
    """The account of somebody a provider has named, under its lock: known, found or made."""
    user = _known(provider, person)
    if user is not None:
        return user
    email = plain_email(person.email or "")
    if not _is_address(email) or person.email_verified is False:
        raise Malformed(UNUSABLE)
    db.execute_sql("SELECT pg_advisory_xact_lock(%s)", (logins.ADMINS,))
    return _known(provider, person) or _first_account(provider, person, email)


def _known(provider: OidcProvider, person: openid.Person) -> User | None:
    """The account of somebody who was here before, whatever their address is now."""
    identity = Identity.of(provider.id, person.issuer, person.subject)
    user = User.locked(identity.user_id) if identity else None
    if identity and user and not identity.email_verified and _vouched(person, user):
        identity.vouch()
    return user


def _first_account(provider: OidcProvider, person: openid.Person, email: str) -> User:
    """The account with the person's address, if the provider vouches for it, or a new one."""
    found = User.named(email)
    user = User.locked(found.id) if found else None
    if user is None:
        user = _made(email, person.name)
        action, told = "user.created", {"email": email, "is_admin": user.is_admin}
    elif _vouched(person, user) and not Identity.is_doubtful(user.id):
        action, told = "oidc.linked", {}
    else:
        raise Malformed(UNUSABLE)
    Identity(
        provider=provider.id,
        issuer=person.issuer,
        subject=person.subject,
        user=user.id,
        email_verified=person.email_verified is True,
    ).add()
    told |= {"provider": provider.slug, "identity": person.subject}
    audit.record(user.principal(), action, user.id, **told)
    return user


def _vouched(person: openid.Person, user: User) -> bool:
    """Whether the provider says that the account's address is the person's."""
    return person.email_verified is True and plain_email(person.email or "") == user.email


def _made(email: str, name: str | None) -> User:
    """A new account without a password; the very first one is an admin's."""
    first = not users_exist() and not settings().setup_token
    called = (name or email.partition("@")[0])[:LONGEST_NAME]
    waitlist.registered(email)
    return User(email=email, display_name=called, is_admin=first).add()


def _is_address(email: str) -> bool:
    name, at, host = email.partition("@")
    plain = email.isprintable() and not set(email) & set(" \x00") and "@" not in host
    return bool(name and at and host) and plain and len(email) <= LONGEST_EMAIL


def _client(provider: OidcProvider, redirect_uri: str, verifier: str) -> openid.Client:
    return openid.Client(
        provider.client_id, provider.secret(), provider.scopes, redirect_uri, verifier
    )


@contextmanager
def _alone() -> Iterator[None]:
    """Somebody else may make the same account, by another way, at the same moment."""
    try:
        yield
    except peewee.IntegrityError as error:
        raise Conflict("This account is being made at this moment; log in again") from error
