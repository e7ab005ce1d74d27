"""OpenID Connect (Core 1.0, the code flow with PKCE): what a provider is asked, and believed.

Nothing is believed but what the provider's own key has signed for us, for this login, just now.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from urllib.parse import quote

from authlib.oauth2.rfc6749.parameters import prepare_grant_uri
from authlib.oauth2.rfc7636 import create_s256_code_challenge
from authlib.oidc.core import CodeIDToken
from joserfc import jwk, jwt
from joserfc.errors import JoseError

from models import outbound
from models.accounts import digest
from models.base import clean
from models.errors import Invalid, Malformed, Unreachable
from models.logs import log

ALGORITHMS = ["RS256", "RS384", "RS512", "ES256", "ES384", "ES512"]
KINDS = {"RSA", "EC"}  # of keys that sign with them
MOST_KEYS = 100
LEEWAY = 60  # seconds by which clocks may differ
KEPT_SECONDS = 300  # for which a provider's metadata is not asked for again
LONGEST_SUBJECT = 255


class Untrusted(Malformed):
    """The identity provider's answer cannot be trusted; log in again."""


@dataclass(frozen=True)
class Metadata:
    """Where a provider is asked for what (OpenID Connect Discovery 1.0)."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    userinfo_endpoint: str | None = None
    jwks_uri: str | None = None
    takes_basic: bool = False  # the client's secret in a header, and only there
    names_itself: bool = False  # RFC 9207: `iss` comes back along with the code


@dataclass(frozen=True)
class Client:
    """What we are to a provider, and one login there. `verifier` is the only secret of a login."""

    id: str
    secret: str
    scopes: str
    redirect_uri: str
    verifier: str

    @property
    def nonce(self) -> str:
        """What the ID token must repeat; only this login's verifier leads to it."""
        return digest(f"nonce of {self.verifier}")


@dataclass(frozen=True)
class Person:
    """Somebody a provider has named. `email_verified` is None when it does not say."""

    issuer: str
    subject: str
    email: str | None = None
    email_verified: bool | None = None
    name: str | None = None


def discovered(issuer_url: str) -> Metadata:
    """What a provider says of itself, at most some minutes ago; raises Unreachable."""
    return _discovered(issuer_url, int(time.monotonic() / KEPT_SECONDS))


@lru_cache(maxsize=64)
def _discovered(issuer_url: str, _slot: int) -> Metadata:
    return discover(issuer_url)


def discover(issuer_url: str) -> Metadata:
    """What a provider says of itself now; raises Unreachable."""
    found = outbound.fetch_json(f"{issuer_url}/.well-known/openid-configuration")
    found = found if isinstance(found, dict) else {}
    issuer = found.get("issuer")
    if issuer not in (issuer_url, f"{issuer_url}/"):
        raise Unreachable(f"The provider at {issuer_url} says that it is another issuer")
    methods = found.get("token_endpoint_auth_methods_supported")
    methods = methods if isinstance(methods, list) else []
    return Metadata(
        issuer,
        _endpoint(found, "authorization_endpoint"),
        _endpoint(found, "token_endpoint"),
        _endpoint(found, "userinfo_endpoint") if found.get("userinfo_endpoint") else None,
        _endpoint(found, "jwks_uri") if found.get("jwks_uri") else None,
        takes_basic="client_secret_basic" in methods and "client_secret_post" not in methods,
        names_itself=found.get("authorization_response_iss_parameter_supported") is True,
    )


def _endpoint(found: Mapping[str, Any], name: str) -> str:
    url = found.get(name)
    try:
        return outbound.checked(url if isinstance(url, str) else "", name, secure=True)
    except Invalid as error:
        raise Unreachable(f"The provider's metadata is of no use: {error}") from None


def authorization_url(metadata: Metadata, client: Client, state: str) -> str:
    """Where to send somebody who wants to log in."""
    url: str = prepare_grant_uri(
        metadata.authorization_endpoint,
        client.id,
        "code",
        client.redirect_uri,
        client.scopes,
        state,
        nonce=client.nonce,
        code_challenge=create_s256_code_challenge(client.verifier),
        code_challenge_method="S256",
    )
    return url


def identified(metadata: Metadata, client: Client, code: str) -> Person:
    """Who the provider says came back with this code.

    Raises Malformed when it takes the code for nothing, Untrusted when its answer does not hold,
    Unreachable.
    """
    tokens = exchanged(metadata, client, code)
    access = tokens.get("access_token")
    if "id_token" not in tokens and "openid" not in client.scopes.split():
        claims = userinfo(metadata, access)  # plain OAuth 2.0: there is nothing that is signed
        return _person(metadata, claims)
    claims = verified(metadata, client, tokens.get("id_token"), access)
    if metadata.userinfo_endpoint and not {"email", "email_verified"} <= set(claims):
        told = userinfo(metadata, access)
        if told["sub"] != claims["sub"]:
            raise _untrusted("userinfo is somebody else's")
        claims = {**told, **claims}
    return _person(metadata, claims)


def exchanged(metadata: Metadata, client: Client, code: str) -> dict[str, Any]:
    """The tokens for a code."""
    form = {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": client.redirect_uri,
        "code_verifier": client.verifier,
    }
    headers = {}
    if metadata.takes_basic:
        pair = f"{quote(client.id, safe='')}:{quote(client.secret, safe='')}"  # RFC 6749, 2.3.1
        headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
    else:
        form |= {"client_id": client.id, "client_secret": client.secret}
    try:
        tokens = outbound.fetch_json(metadata.token_endpoint, form=form, headers=headers)
    except outbound.Declined as error:
        log.info("code declined", issuer=metadata.issuer, status=error.status)
        raise Malformed("The identity provider did not accept this login; try again") from error
    if not isinstance(tokens, dict):
        raise _untrusted("no tokens")
    return tokens


def verified(metadata: Metadata, client: Client, token: Any, access: Any) -> dict[str, Any]:
    """The claims of an ID token, checked as OpenID Connect Core 1.0 says in 3.1.3.7."""
    if not isinstance(token, str) or not metadata.jwks_uri:
        raise _untrusted("no ID token, or nothing to check it with")
    keys, issuer = outbound.fetch_json(metadata.jwks_uri), metadata.issuer.rstrip("/")
    options: dict[str, Any] = {
        "iss": {"essential": True, "values": [issuer, f"{issuer}/"]},
        "aud": {"essential": True, "value": client.id},
    }
    params = {"nonce": client.nonce, "client_id": client.id, "access_token": access}
    try:
        opened = jwt.decode(token, _signing(keys), ALGORITHMS)
        claims = CodeIDToken(opened.claims, opened.header, options, params)
        claims.validate(leeway=LEEWAY)
    except (JoseError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise _untrusted(repr(error)) from error
    if not isinstance(claims.get("sub"), str):
        raise _untrusted("no subject")
    return dict(claims)


def userinfo(metadata: Metadata, access: Any) -> dict[str, Any]:
    """What the provider tells of the person whose access token this is."""
    if not metadata.userinfo_endpoint or not isinstance(access, str) or not access.isascii():
        raise _untrusted("nothing to ask for userinfo with")
    headers = {"Authorization": f"Bearer {access}"}
    told = outbound.fetch_json(metadata.userinfo_endpoint, headers=headers)
    if not isinstance(told, dict) or not isinstance(told.get("sub"), str):
        raise _untrusted("userinfo without a subject")
    return told


def _signing(keys: Any) -> jwk.KeySet:
    """The public keys that may sign: no shared secrets, nothing that is for encryption."""
    listed = keys.get("keys") if isinstance(keys, dict) else None
    usable = [
        key
        for key in (listed if isinstance(listed, list) else [])[:MOST_KEYS]
        if isinstance(key, dict) and key.get("kty") in KINDS and key.get("use") != "enc"
    ]
    return jwk.KeySet.import_key_set({"keys": usable})


def _person(metadata: Metadata, claims: Mapping[str, Any]) -> Person:
    if not 0 < len(claims["sub"]) <= LONGEST_SUBJECT or not claims["sub"].isprintable():
        raise _untrusted("the subject is empty, too long or not printable")
    said = {True: True, "true": True, False: False, "false": False}
    names = (claims.get(name) for name in ("name", "preferred_username"))
    email = claims.get("email")
    return Person(
        metadata.issuer,
        claims["sub"],
        email if isinstance(email, str) else None,
        said.get(_hashable(claims.get("email_verified"))),
        next((clean(name) for name in names if isinstance(name, str) and name.strip()), None),
    )


def _hashable(value: Any) -> Any:
    return value if isinstance(value, bool | str) else None


def _untrusted(why: str) -> Untrusted:
    log.warning("identity provider not trusted", why=why)
    return Untrusted()
