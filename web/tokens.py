"""Signed tokens: an access token names a login, a pending one the login that waits for a code.

JSON Web Tokens (RFC 7519), HS256, by flask-jwt-extended. A signature alone opens nothing: whoever
an access token names must still be logged in (`UserSession.caller`).
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import jwt
from flask import Flask, current_app
from flask_jwt_extended import JWTManager, create_access_token, decode_token
from flask_jwt_extended.exceptions import JWTExtendedException

from models.accounts import Challenge, User, UserSession
from models.config import Settings
from models.errors import Malformed, Unauthenticated, Unavailable
from models.principals import Principal

ACCESS, PENDING = "access", "pending_totp"
PENDING_LIFE = timedelta(minutes=5)
SKEW = timedelta(seconds=30)  # between the clocks of two web processes
AUDIENCE = ISSUER = "djinnbot"


def register(app: Flask, settings: Settings) -> None:
    """Let `app` sign and read tokens with the operator's key."""
    app.config |= {
        "JWT_SECRET_KEY": settings.auth_secret,
        "JWT_ALGORITHM": "HS256",
        "JWT_DECODE_ALGORITHMS": ["HS256"],
        "JWT_ACCESS_TOKEN_EXPIRES": timedelta(seconds=settings.access_seconds),
        "JWT_ENCODE_ISSUER": ISSUER,
        "JWT_DECODE_ISSUER": ISSUER,
        "JWT_ENCODE_AUDIENCE": AUDIENCE,
        "JWT_DECODE_AUDIENCE": AUDIENCE,
        "JWT_DECODE_LEEWAY": SKEW,
        "JWT_ENCODE_NBF": False,
        "JWT_COOKIE_CSRF_PROTECT": False,  # no cookies
    }
    JWTManager(app)


def access_token(user: User, session_id: str) -> str:
    """A token that opens the API to who is behind this login, for some minutes."""
    told = {"sid": session_id, "email": user.email, "is_admin": user.is_admin}
    return _signed(user.id, {**told, "totp_verified": True}, None)


def pending_token(challenge: Challenge) -> str:
    """A token that is good for answering this challenge and for nothing else."""
    told = {"type": PENDING, "jti": challenge.id}
    return _signed(challenge.user_id, told, PENDING_LIFE)


def caller(token: str) -> Principal | None:
    """Who an access token stands for; raises Unauthenticated for one of ours that is over."""
    claims = _claims(token)
    if claims["type"] != ACCESS or "sid" not in claims:
        raise Unauthenticated("Invalid token type")
    return UserSession.caller(str(claims["sid"]), str(claims["sub"]))


def challenge_id(token: str) -> str:
    """The id of the challenge that a pending token answers; raises Unauthenticated, Malformed."""
    claims = _claims(token)
    if claims["type"] != PENDING:
        raise Malformed("Invalid token type: this is none that waits for a code")
    return str(claims["jti"])


def resembles(token: str) -> bool:
    """Whether the text has the shape of a signed token."""
    return token.count(".") == 2


def _signed(user_id: str, claims: dict[str, Any], life: timedelta | None) -> str:
    if not current_app.config["JWT_SECRET_KEY"]:
        raise Unavailable("Nobody can log in here: AUTH_SECRET_KEY is not set")
    signed: str = create_access_token(user_id, additional_claims=claims, expires_delta=life)
    return signed


def _claims(token: str) -> dict[str, Any]:
    if not current_app.config["JWT_SECRET_KEY"]:
        raise Unauthenticated
    try:
        claims: dict[str, Any] = decode_token(token)
    except jwt.ExpiredSignatureError:
        raise Unauthenticated("Token expired") from None
    except (jwt.InvalidTokenError, JWTExtendedException, UnicodeError):
        raise Unauthenticated from None
    if not {"exp", "sub"} <= set(claims):
        raise Unauthenticated
    return claims
