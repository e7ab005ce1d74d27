"""An identity provider on the loopback that keeps to the rules until a test says otherwise."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import orjson
from joserfc import jwk, jwt

from models import openid
from tests.servers.outside import Answer, Outside, Received

RSA = jwk.RSAKey.generate_key(2048, {"kid": "rsa", "use": "sig", "alg": "RS256"})
EC = jwk.ECKey.generate_key("P-256", {"kid": "ec", "use": "sig"})
STRANGERS = jwk.RSAKey.generate_key(2048, {"kid": "rsa"})  # the same name, another key
CLIENT = ("djinnbot", "a client secret of the tests")


class Issuer(Outside):
    """The provider. Each part of what it says may be replaced before somebody comes.

    It checks what a good provider checks: code, PKCE, redirect URI, client; each code once.
    """

    def __init__(self) -> None:
        super().__init__(self._answer)
        openid._discovered.cache_clear()  # an earlier one may have had this port
        self.person: dict[str, Any] = {
            "sub": "248289761001",
            "email": "ada@outside.example",
            "email_verified": True,
            "name": "Ada Lovelace",
        }
        self.metadata: dict[str, Any] = {}
        self.claims: dict[str, Any] = {}  # of the ID token, over those that are right
        self.left_out: set[str] = set()
        self.userinfo: dict[str, Any] | None = None
        self.keys: Any = {"keys": [EC.as_dict(private=False), RSA.as_dict(private=False)]}
        self.sign: Callable[[dict[str, Any]], str] = signed
        self.tokens: Callable[[dict[str, Any]], Any] = lambda tokens: tokens
        self.answers: dict[str, Callable[[Received], Answer]] = {}
        self.wanted: dict[str, dict[str, str]] = {}  # what was asked for, by code

    def provider(self, slug: str = "outside", **more: Any) -> dict[str, Any]:
        """What an admin enters to have people log in here."""
        client = {"clientId": CLIENT[0], "clientSecret": CLIENT[1]}
        return {"slug": slug, "name": "Outside", "issuerUrl": self.url, **client, **more}

    def visit(self, url: str) -> dict[str, str]:
        """What a person brings back who went to `url` and logged in here: code and state."""
        asked = dict(parse_qsl(urlsplit(url).query, strict_parsing=True))
        assert urlsplit(url)._replace(query="").geturl() == f"{self.url}/authorize"
        assert asked["response_type"] == "code" and asked["code_challenge_method"] == "S256"
        code = secrets.token_urlsafe(16)
        self.wanted[code] = asked
        return {"code": code, "state": asked["state"]}

    def _answer(self, received: Received) -> Answer:
        path = urlsplit(received.path).path
        if path in self.answers:
            return self.answers[path](received)
        return {
            "/.well-known/openid-configuration": self._metadata,
            "/keys": lambda _: Answer(self.keys),
            "/token": self._token,
            "/userinfo": self._userinfo,
        }[path](received)

    def _metadata(self, _: Received) -> Answer:
        told = {
            "issuer": self.url,
            "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": f"{self.url}/token",
            "userinfo_endpoint": f"{self.url}/userinfo",
            "jwks_uri": f"{self.url}/keys",
            "token_endpoint_auth_methods_supported": ["client_secret_post"],
        }
        return Answer(told | self.metadata)

    def _token(self, received: Received) -> Answer:
        form = dict(parse_qsl(received.body.decode(), strict_parsing=True))
        asked = self.wanted.pop(form["code"], None)
        challenge = hashlib.sha256(form["code_verifier"].encode()).digest()
        if asked is None or (
            asked["code_challenge"] != plain64(challenge)
            or asked["redirect_uri"] != form["redirect_uri"]
            or caller(received, form) != CLIENT
        ):
            return Answer({"error": "invalid_grant"}, 400)
        access = secrets.token_urlsafe(16)
        told = {"access_token": access, "token_type": "Bearer"}
        return Answer(self.tokens({**told, "id_token": self.sign(self._claims(asked))}))

    def _claims(self, asked: dict[str, str]) -> dict[str, Any]:
        now = int(time.time())
        right = {"iss": self.url, "aud": asked["client_id"], "iat": now, "exp": now + 300}
        claims = {**right, "nonce": asked["nonce"], **self.person, **self.claims}
        return {name: value for name, value in claims.items() if name not in self.left_out}

    def _userinfo(self, received: Received) -> Answer:
        assert received.headers["authorization"].startswith("Bearer ")
        return Answer(self.person if self.userinfo is None else self.userinfo)


def caller(received: Received, form: dict[str, str]) -> tuple[str, ...]:
    """The client that asks for tokens, by whichever way it names itself."""
    if "authorization" not in received.headers:
        return form["client_id"], form["client_secret"]
    pair = base64.b64decode(received.headers["authorization"].removeprefix("Basic ")).decode()
    return tuple(dict(parse_qsl(f"x={part}"))["x"] for part in pair.split(":"))


def signed(claims: dict[str, Any], key: Any = RSA, algorithm: str = "RS256") -> str:
    """An ID token."""
    header = {"alg": algorithm, "kid": key.kid}
    return jwt.encode(header, claims, key, algorithms=[algorithm], encoder_cls=Escaping)


class Escaping(json.JSONEncoder):
    """Half a surrogate pair cannot be sent otherwise."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options | {"ensure_ascii": True})


def unsigned(claims: dict[str, Any]) -> str:
    """An ID token that says it needs no signature."""
    return f"{spelled({'alg': 'none'})}.{spelled(claims)}."


def confused(claims: dict[str, Any]) -> str:
    """An ID token for who takes the provider's public key, which all know, for a shared secret."""
    text = f"{spelled({'alg': 'HS256', 'kid': 'rsa'})}.{spelled(claims)}"
    public = RSA.as_pem(private=False)
    return f"{text}.{plain64(hmac.digest(public, text.encode(), 'sha256'))}"


def spelled(part: dict[str, Any]) -> str:
    return plain64(orjson.dumps(part))


def plain64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
