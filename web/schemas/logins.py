"""Logins on the wire."""

from __future__ import annotations

from typing import Any

from flask import current_app, g
from marshmallow import ValidationError, fields, validate

from models import passwords
from models.accounts import LONGEST_EMAIL, LONGEST_NAME, Challenge, User, UserSession
from models.oidc import OidcProvider
from models.principals import Principal
from tasks import second_factor
from tasks.logins import Login
from web import tokens
from web.bodies import Form, Text
from web.schemas.base import derived, made

TOKEN = 4_096  # characters of a token that a body may carry


class Password(fields.String):
    """A password that is chosen: length is what counts."""

    def __init__(self, **options: Any) -> None:
        rule = validate.Length(passwords.LEAST, passwords.MOST)
        described = {"example": "correct horse battery staple", "format": "password"}
        super().__init__(validate=rule, metadata=described, **options)


class Email(fields.String):
    """An address: something, one @, something; its reader decides whether it is one."""

    def __init__(self, **options: Any) -> None:
        rules = validate.And(validate.Length(max=LONGEST_EMAIL), _is_address)
        super().__init__(validate=rules, metadata={"example": "ada@example.com"}, **options)

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> Any:
        return super()._deserialize(value, *args, **kwargs).strip()


def _is_address(text: str) -> None:
    local, _, domain = text.partition("@")
    spaced = any(letter.isspace() or not letter.isprintable() for letter in text)
    spaced |= "\ufffd" in text  # what stands for what could not be stored
    if not local or not domain or "@" in domain or spaced:
        raise ValidationError("Not an email address.")


def known(example: str, **options: Any) -> fields.String:
    """A secret that is repeated, not chosen."""
    rule = validate.Length(max=TOKEN)
    return Text(validate=rule, metadata={"example": example}, **options)


class SetupForm(Form):
    """The first account."""

    email = Email(required=True)
    password = Password(required=True)
    display_name = fields.String(
        data_key="displayName", allow_none=True, validate=validate.Length(max=LONGEST_NAME)
    )
    token = fields.String(
        data_key="setupToken",
        load_default="",
        metadata={"description": "What SETUP_TOKEN says, where it is set", "example": ""},
    )


class LoginForm(Form):
    """Who one is and how one proves it."""

    email = known("ada@example.com", required=True)
    password = known("correct horse battery staple", required=True)


class CodeForm(Form):
    """The second factor of a login."""

    token = known("eyJhbGciOiJIUzI1NiJ9.e30.c2ln", required=True, data_key="pendingToken")
    code = known("123456", required=True)


class RefreshForm(Form):
    """The token that keeps a login."""

    token = known("b64-of-48-random-bytes", required=True, data_key="refreshToken")


class LogoutForm(Form):
    """The token of the login to end."""

    token = known("b64-of-48-random-bytes", allow_none=True, data_key="refreshToken")


class PasswordForm(Form):
    """The old password, and the one in its place."""

    current = known("correct horse battery staple", required=True, data_key="currentPassword")
    new = Password(required=True, data_key="newPassword")


Person = made(
    "Person",
    derived(
        User,
        "id",
        "email",
        displayName="display_name",
        isAdmin="is_admin",
        totpEnabled="totp_enabled",
        slackId="slack_id",
    ),
)
_TOKENS: dict[str, fields.Field] = {
    "accessToken": fields.String(),
    "refreshToken": fields.String(),
    "tokenType": fields.String(metadata={"example": "Bearer"}),
    "expiresIn": fields.Integer(metadata={"description": "Seconds", "example": 900}),
    "user": fields.Nested(Person),
}
Tokens = made("Tokens", _TOKENS)
RecoveredTokens = made(
    "RecoveredTokens", {**_TOKENS, "remainingRecoveryCodes": fields.Integer(dump_default=0)}
)
LoginAnswer = made(
    "LoginAnswer",
    {
        **_TOKENS,
        "requiresTOTP": fields.Boolean(
            metadata={"description": "Only with `pendingToken`, then nothing else is there"}
        ),
        "requires2FA": fields.Boolean(),
        "pendingToken": fields.String(metadata={"description": "For login/2fa, five minutes"}),
    },
)
Provider = made(
    "LoginProvider",
    {
        **derived(OidcProvider, "id", "slug", "name"),
        "buttonText": fields.Function(
            lambda row: row.button_text or f"Sign in with {row.name}",
            metadata={"type": "string", "example": "Sign in with Example"},
        ),
        **derived(OidcProvider, buttonColor="button_color", iconUrl="icon_url"),
    },
)
AuthStatus = made(
    "AuthStatus",
    {
        "authEnabled": fields.Boolean(),
        "setupComplete": fields.Boolean(),
        "oidcProviders": fields.List(fields.Nested(Provider)),
    },
)
Me = made(
    "Me",
    {
        "id": fields.String(metadata={"example": "usr_5f0c9a1b2c3d4e5f"}),
        "email": fields.String(allow_none=True, metadata={"example": "ada@example.com"}),
        "displayName": fields.String(allow_none=True),
        "isAdmin": fields.Boolean(),
        "isService": fields.Boolean(metadata={"example": False}),
        "totpEnabled": fields.Boolean(),
        "slackId": fields.String(allow_none=True),
    },
)
Done = made("Done", {"status": fields.String(metadata={"example": "ok"})})
LoginView = made(
    "LoginView",
    {
        **derived(
            UserSession,
            "id",
            ipAddress="ip_address",
            userAgent="user_agent",
            createdAt="created_at",
            lastUsedAt="used_at",
            expiresAt="expires_at",
        ),
        "current": fields.Function(
            lambda row: row.id == g.principal.session_id,
            metadata={"type": "boolean", "example": True},
        ),
    },
)
Ended = made(
    "Ended", {"status": fields.String(metadata={"example": "ended"}), "id": fields.String()}
)


def told(login: Login) -> dict[str, Any]:
    """The tokens of a login, and whose it is."""
    life = current_app.config["JWT_ACCESS_TOKEN_EXPIRES"]
    return {
        "accessToken": tokens.access_token(login.user, login.session_id),
        "refreshToken": login.refresh_token,
        "tokenType": "Bearer",
        "expiresIn": int(life.total_seconds()),
        "user": login.user,
    }


def told_or_asked(login: Login | Challenge) -> dict[str, Any]:
    """The same, or that the second factor is asked for."""
    if isinstance(login, Login):
        return told(login)
    pending = tokens.pending_token(login)
    return {"requiresTOTP": True, "requires2FA": True, "pendingToken": pending}


def told_with_codes_left(login: Login) -> dict[str, Any]:
    """The same, and how many recovery codes are left."""
    return told(login) | {"remainingRecoveryCodes": second_factor.codes_left(login.user)}


def me(principal: Principal) -> dict[str, Any]:
    """Who is calling."""
    user = User.find(principal.id) if principal.is_person else None
    named = user.display_name if user else principal.name
    return {
        "id": principal.id,
        "email": user and user.email,
        "displayName": named,
        "isAdmin": principal.is_admin,
        "isService": principal.is_service,
        "totpEnabled": bool(user and user.totp_enabled),
        "slackId": user and user.slack_id,
    }
