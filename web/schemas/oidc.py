"""Identity providers and logins by them on the wire."""

from __future__ import annotations

import re
from typing import Any

from marshmallow import ValidationError, fields, validate

from models.accounts import LONGEST_NAME
from models.config import settings
from models.oidc import LONGEST_CLIENT, LONGEST_SCOPES, OidcProvider
from models.outbound import LONGEST_URL
from web.bodies import Flag, Form, Text
from web.schemas.base import derived, made

LONGEST_SECRET, LONGEST_CODE, LONGEST_STATE = 1_024, 8_000, 256
SLUG = r"^[a-z0-9][a-z0-9\-]{1,31}\Z"
SCOPES = r"^([!#-\[\]-~]+( [!#-\[\]-~]+)*)?\Z"  # RFC 6749, 3.3
COLOR = r"^[#a-zA-Z0-9(),.% ]*\Z"
PICTURE = r"^(https?://[^\s\"'<>\\]+|/[^\s\"'<>\\]*|data:image/[^\s\"'<>\\]+)?\Z"
ISSUER, SECRET = "https://id.example.com", "a-client-secret"


def _text(name: str, most: int, example: str, *rules: Any, **options: Any) -> Any:
    kind = Text if options.get("required") else fields.String
    options.setdefault("allow_none", not options.get("required"))
    checks = [validate.Length(max=most), *rules]
    return kind(data_key=name, validate=checks, metadata={"example": example}, **options)


_SCOPES = validate.Regexp(SCOPES, error="Must be scopes, by space.")
_COLOR = validate.Regexp(COLOR, error="Must be a colour.")
_PICTURE = validate.Regexp(PICTURE, error="Must be the address of a picture.")
_PLAIN = validate.Regexp(r"^[^\x00-\x1f\x7f]*\Z", error="Must be one line.")
_FILLED = validate.Regexp(
    r"^[^\x00-\x1f\x7f]*[^\x00-\x20\x7f][^\x00-\x1f\x7f]*\Z",
    error="Must be one line that is not blank.",
)


class _Endpoints(Form):
    """What a provider may be told beside what it must be."""

    scopes = _text("scopes", LONGEST_SCOPES, "openid email profile", _SCOPES)
    button_text = _text("buttonText", 128, "Sign in with Example", _PLAIN)
    button_color = _text("buttonColor", 32, "#4285f4", _COLOR)
    icon_url = _text("iconUrl", LONGEST_URL, f"{ISSUER}/icon.png", _PICTURE)
    auto_discovery = Flag(data_key="autoDiscovery", allow_none=True)
    authorization_endpoint = _text("authorizationEndpoint", LONGEST_URL, f"{ISSUER}/authorize")
    token_endpoint = _text("tokenEndpoint", LONGEST_URL, f"{ISSUER}/token")
    userinfo_endpoint = _text("userinfoEndpoint", LONGEST_URL, f"{ISSUER}/userinfo")
    jwks_uri = _text("jwksUri", LONGEST_URL, f"{ISSUER}/keys")


class NewProviderForm(_Endpoints):
    """A new provider."""

    name = _text("name", LONGEST_NAME, "Example", _PLAIN, required=True)
    slug = Text(
        required=True,
        validate=validate.Regexp(SLUG, error="Must be 2 to 32 of a-z, 0-9 and -."),
        metadata={"example": "example"},
    )
    issuer_url = _text("issuerUrl", LONGEST_URL, ISSUER, required=True)
    client_id = _text("clientId", LONGEST_CLIENT, "djinnbot", _PLAIN, required=True)
    client_secret = _text("clientSecret", LONGEST_SECRET, SECRET, _PLAIN, required=True)


class ProviderForm(_Endpoints):
    """What to change; null keeps what is there, as does an empty secret."""

    name = _text("name", LONGEST_NAME, "Example", _FILLED)
    issuer_url = _text("issuerUrl", LONGEST_URL, ISSUER)
    client_id = _text("clientId", LONGEST_CLIENT, "djinnbot", _FILLED)
    client_secret = _text("clientSecret", LONGEST_SECRET, SECRET, _PLAIN)
    enabled = Flag(allow_none=True)


def _own(url: str) -> None:
    """Nobody is sent on to a place that is not ours, nor to one that browsers read as another."""
    home = settings().frontend_url
    path = url.removeprefix(home) if url.startswith(f"{home}/") else url
    if not re.fullmatch(r"/(?![/\\])[^\\\x00-\x20\x7f]*", path):
        raise ValidationError("Must be a path of the dashboard, such as /runs.")


class AuthorizeForm(Form):
    """Where to go on after the login."""

    redirect = fields.String(
        validate=[validate.Length(max=LONGEST_URL), _own],
        metadata={"description": "A path of the dashboard to go on to", "example": "/runs"},
    )


class CallbackForm(Form):
    """What the provider has sent along."""

    state = Text(required=True, validate=validate.Length(max=LONGEST_STATE))
    code = Text(required=True, validate=validate.Length(max=LONGEST_CODE))
    iss = fields.String(validate=validate.Length(max=LONGEST_URL))


class ReturnForm(Form):
    """The same, as a browser brings it."""

    state = Text(required=True, validate=validate.Length(max=LONGEST_STATE))
    code = fields.String(validate=validate.Length(max=LONGEST_CODE))
    error = fields.String(metadata={"example": "access_denied"})
    iss = fields.String(validate=validate.Length(max=LONGEST_URL))


_ENDPOINTS = {
    "authorizationEndpoint": "authorization_endpoint",
    "tokenEndpoint": "token_endpoint",
    "userinfoEndpoint": "userinfo_endpoint",
    "jwksUri": "jwks_uri",
}
_PROVIDER = derived(
    OidcProvider,
    "id",
    "slug",
    "name",
    "scopes",
    "enabled",
    issuerUrl="issuer_url",
    clientId="client_id",
    maskedClientSecret="masked_client_secret",
    buttonText="button_text",
    buttonColor="button_color",
    iconUrl="icon_url",
    autoDiscovery="auto_discovery",
    createdAt="created_at",
    updatedAt="updated_at",
    **_ENDPOINTS,
)


def _status(word: str) -> fields.Field:
    return fields.Constant(word, metadata={"type": "string", "example": word})


ProviderView = made("OidcProviderView", _PROVIDER)
Created = made("OidcProviderCreated", {**_PROVIDER, "status": _status("created")})
Updated = made("OidcProviderUpdated", {**_PROVIDER, "status": _status("updated")})
Deleted = made("OidcProviderDeleted", {"status": _status("deleted"), "id": fields.String()})
Probed = made(
    "OidcProviderProbed",
    {
        "status": _status("ok"),
        "issuer": fields.String(),
        **{
            wire: fields.String(attribute=name, allow_none=True)
            for wire, name in _ENDPOINTS.items()
        },
    },
)
Authorization = made("OidcAuthorization", {"authorizationUrl": fields.String()})
