"""What belongs to the owner's account, and a provider of identities that nobody need ask."""

from __future__ import annotations

from collections.abc import Callable

from flask.testing import FlaskClient

from models.accounts import User, UserSession
from models.base import db, now_ms
from models.principals import SERVICE
from tasks import oidc

BODIES = {  # a proof that is none would be 401 from behind the door
    f"POST /v1/auth/{name}": {}
    for name in ("login", "login/2fa", "login/totp", "login/recovery", "refresh")
}
BODIES |= {  # what somebody may change of their own account
    f"PUT /v1/{name}/<user_id>": {"displayName": "Ada"} for name in ("users", "admin/users")
}
LINKS = {"slack_id": "U012AB3CD", "discord_id": "112233445566778899"}
PLACES = ("authorization_endpoint", "token_endpoint", "jwks_uri")


def make(owner: FlaskClient, work: Callable[..., int]) -> dict[str, str]:
    form = {"name": "Outside", "slug": "outside", "issuer_url": "https://outside.example"}
    client = {"client_id": "djinnbot", "client_secret": "a client secret", "auto_discovery": False}
    endpoints = {place: f"https://outside.example/{place}" for place in PLACES}
    soon = now_ms() + 60_000
    login = {"user_id": "usr_owner", "expires_at": soon, "ends_at": soon}
    with db.connection_context():
        UserSession(id="ses_owner", **login).add()
        User.update(**LINKS).where(User.id == "usr_owner").execute()
        provider = oidc.create(SERVICE, {**form, **client, **endpoints})
    mine = {"user_id": "usr_owner", "login_id": "ses_owner", "key_id": "ak_owner"}
    return {**mine, **LINKS, "provider_id": provider.id, "slug": provider.slug}
