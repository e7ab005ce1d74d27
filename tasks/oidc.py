"""Identity providers: which there are, and where they are asked for what."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import peewee

from models import audit, openid, outbound
from models.base import db, now_ms
from models.errors import Conflict, Invalid, Malformed, Unreachable
from models.masking import mask
from models.oidc import LONGEST_ISSUER, OidcProvider
from models.principals import Principal

Discover = Callable[[str], openid.Metadata]

ENDPOINTS = {
    "authorization_endpoint": "authorizationEndpoint",
    "token_endpoint": "tokenEndpoint",
    "userinfo_endpoint": "userinfoEndpoint",
    "jwks_uri": "jwksUri",
}
OPTIONAL = {*ENDPOINTS, "button_text", "button_color", "icon_url"}
SCOPES = "openid email profile"


def create(principal: Principal, form: Mapping[str, Any]) -> OidcProvider:
    """Add a provider; Conflict when the slug is taken."""
    provider = OidcProvider(slug=form["slug"], scopes=SCOPES)
    _assign(provider, form)
    with _claiming(), db.atomic():
        provider.add()
        audit.record(principal, "oidc.created", provider.id, slug=provider.slug)
    return provider


def change(principal: Principal, provider: OidcProvider, form: Mapping[str, Any]) -> OidcProvider:
    """Change what is named; null, an empty secret and its mask keep what is there."""
    changed = _assign(provider, form)
    with db.atomic():
        provider.put(**{name: getattr(provider, name) for name in changed}, updated_at=now_ms())
        audit.record(
            principal, "oidc.updated", provider.id, slug=provider.slug, changed=sorted(changed)
        )
    return provider


def remove(principal: Principal, provider: OidcProvider) -> None:
    """Delete a provider and who its people are; their accounts stay."""
    with db.atomic():
        OidcProvider.delete().where(OidcProvider.id == provider.id).execute()
        audit.record(principal, "oidc.deleted", provider.id, slug=provider.slug)


def probe(provider: OidcProvider) -> openid.Metadata:
    """Ask the provider where it is asked for what; Malformed when it does not say."""
    try:
        return metadata(provider, openid.discover)
    except Unreachable as error:
        raise Malformed(f"Discovery failed: {error}") from error


def metadata(provider: OidcProvider, discover: Discover = openid.discovered) -> openid.Metadata:
    """Where the provider is asked: what was set by hand wins over what it says itself."""
    if not db.in_transaction():
        db.close()  # a provider may take its time, and others need the connection
    by_hand = {name: url for name in ENDPOINTS if (url := getattr(provider, name))}
    if not provider.auto_discovery:
        return openid.Metadata(provider.issuer_url, **by_hand)
    return replace(discover(provider.issuer_url), **by_hand)


def _assign(provider: OidcProvider, form: Mapping[str, Any]) -> set[str]:
    """Put what a form names into a provider, in memory; gives the names of what changed."""
    given = {name: value for name, value in form.items() if value is not None}
    secret = given.pop("client_secret", "")
    fresh = {name: _storable(name, value) for name, value in given.items()}
    changed = {name for name, value in fresh.items() if value != provider.__data__.get(name)}
    for name, value in fresh.items():
        setattr(provider, name, value)
    if secret and secret != provider.masked_client_secret:
        provider.lock_up(client_secret=secret)
        provider.masked_client_secret = mask(secret)
        changed |= {"client_secret", "masked_client_secret"}
    _check_complete(provider)
    return changed


def _storable(name: str, value: Any) -> Any:
    """A column's value: blank is none, or the default; addresses lead where we may ask."""
    if name == "scopes" and not value:
        return SCOPES
    if name in OPTIONAL and not value.strip():
        return None
    if name == "issuer_url":
        return _issuer(value)
    return outbound.checked(value, ENDPOINTS[name], secure=True) if name in ENDPOINTS else value


def _issuer(url: str) -> str:
    """An issuer as it is stored: without a slash at its end."""
    issuer = outbound.checked(url, "issuerUrl", secure=True).rstrip("/")
    most = LONGEST_ISSUER - 1  # it may call itself by one slash more
    if "?" in issuer or len(issuer) > most:
        raise _invalid("issuerUrl", f"Must have no query and at most {most} characters.")
    return issuer


def _check_complete(provider: OidcProvider) -> None:
    """A provider that is not asked where it is asked for what must be told it."""
    if provider.auto_discovery:
        return
    proof = "jwks_uri" if "openid" in provider.scopes.split() else "userinfo_endpoint"
    for name in ("authorization_endpoint", "token_endpoint", proof):
        if not getattr(provider, name):
            raise _invalid(ENDPOINTS[name], "Is needed where autoDiscovery is off.")


def _invalid(field: str, why: str) -> Invalid:
    fault = {"loc": ["body", field], "msg": why, "type": "invalid"}
    return Invalid(f"{field}: {why}", errors=[fault])


@contextmanager
def _claiming() -> Iterator[None]:
    try:
        yield
    except peewee.IntegrityError as error:
        raise Conflict("There is an identity provider with this slug already") from error
