"""Accounts: people and how they prove who they are, and the keys of programs.

A login is a session row; its refresh tokens are one family. Of tokens, codes and keys only digests
are kept. What is looked up here is asked at every request, so that whoever logged out, was
disabled or lost a key is out at once.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from typing import Any, Self

from peewee import BooleanField, CharField, ForeignKeyField, IntegerField

from models.base import IDENTIFIER, JsonField, Model, Moment, db, id_field, now_ms
from models.config import settings
from models.errors import NotFound, Unavailable
from models.principals import ANONYMOUS, Principal
from models.principals import SERVICE as ENGINE
from models.vault import Sealed, Vaulted

DIGEST = 64  # hex digits of SHA-256
LOGIN_BYTES, KEY_BYTES = 48, 32
USED_MS = 60_000  # how often the last use of a key is written down
LONGEST_NAME, LONGEST_EMAIL = 256, 320
PROGRAM = "service:apikey:"  # how the owners begin that are keys of programs
USER, SERVICE, AGENT = "djb_", "djb_svc_", "djb_agent_"  # how keys begin, by whose they are
SHOWN = {USER: 12, SERVICE: 16, AGENT: 16}  # characters of a key that lists show


class User(Vaulted):
    """A person. Without a password hash they come in through an identity provider only."""

    label = "User"

    id = id_field("usr_")
    email = CharField(max_length=LONGEST_EMAIL)  # in lower case
    display_name = CharField(max_length=LONGEST_NAME, null=True)
    password_hash = CharField(max_length=256, null=True)
    is_active = BooleanField(default=True)
    is_admin = BooleanField(default=False)
    totp_secret = Sealed(null=True)
    totp_enabled = BooleanField(default=False)
    totp_confirmed_at = Moment(null=True)
    totp_step = IntegerField(default=0)  # the last one that let them in: a code works once
    slack_id = CharField(max_length=64, null=True)
    discord_id = CharField(max_length=64, null=True)
    phone_number = CharField(max_length=32, null=True)
    created_at = Moment(default=now_ms)
    updated_at = Moment(default=now_ms)

    class Meta:
        table_name = "users"
        indexes = (
            (("email",), True),
            (("slack_id",), True),
            (("discord_id",), True),
            (("phone_number",), True),
            (("created_at", "id"), False),
        )

    @classmethod
    def visible_to(cls, principal: Principal) -> Any:
        """Oneself; admins see everybody."""
        query = cls.select()
        return query if principal.is_admin else query.where(cls.id == principal.id)

    @classmethod
    def locked(cls, user_id: str) -> Self | None:
        """The user under the row lock."""
        rows = cls.read("SELECT * FROM users WHERE id = %s FOR NO KEY UPDATE", user_id)
        return next(iter(rows), None)

    @classmethod
    def named(cls, email: str) -> Self | None:
        """The user with this address, however it is written."""
        rows = cls.read("SELECT * FROM users WHERE email = %s", plain_email(email))
        return next(iter(rows), None)

    def principal(self, session_id: str | None = None) -> Principal:
        """This person as a caller."""
        return Principal(self.id, "user", is_admin=self.is_admin, session_id=session_id)


class UserSession(Model):
    """A login, from its first token to its end."""

    label = "Session"
    user_id: str

    id = id_field("ses_")
    user = ForeignKeyField(User, on_delete="CASCADE", index=True)
    ip_address = CharField(max_length=64, null=True)
    user_agent = CharField(max_length=512, null=True)
    expires_at = Moment(index=True)  # refreshing moves it on
    ends_at = Moment()  # nothing does
    created_at = Moment(default=now_ms)
    used_at = Moment(default=now_ms)

    class Meta:
        table_name = "user_sessions"

    @classmethod
    def visible_to(cls, principal: Principal) -> Any:
        """One's own: another's login is nobody's business."""
        return cls.select().where(cls.user == principal.id)

    @classmethod
    def locked_by_token(cls, token: str) -> Self | None:
        """The login a refresh token is of, under its row lock, if it goes on."""
        text = """
            SELECT logins.* FROM user_sessions AS logins JOIN users ON users.id = logins.user_id
            WHERE logins.id = (SELECT session_id FROM refresh_tokens WHERE hash = %s)
                AND users.is_active AND logins.expires_at > %s
            FOR NO KEY UPDATE OF logins
        """
        return next(iter(cls.read(text, digest(token), now_ms())), None)

    @classmethod
    def caller(cls, session_id: str, user_id: str) -> Principal | None:
        """Who is behind an access token, if the login goes on and the account is open."""
        text = """
            SELECT users.id, users.is_admin FROM users JOIN user_sessions AS logins
                ON logins.user_id = users.id
            WHERE logins.id = %s AND users.id = %s AND users.is_active AND logins.expires_at > %s
        """
        row = db.now(text, (session_id, user_id, now_ms())).fetchone()
        return row and Principal(row[0], "user", is_admin=row[1], session_id=session_id)


class RefreshToken(Model):
    """A refresh token of a login; one that was used stays, to know it when it comes again."""

    session_id: str

    hash = CharField(max_length=DIGEST, primary_key=True)
    session = ForeignKeyField(UserSession, on_delete="CASCADE", index=True)
    created_at = Moment(default=now_ms)
    used_at = Moment(null=True)

    class Meta:
        table_name = "refresh_tokens"

    @classmethod
    def known(cls, token: str) -> Self | None:
        """The row of a token."""
        rows = cls.read("SELECT * FROM refresh_tokens WHERE hash = %s", digest(token))
        return next(iter(rows), None)

    @classmethod
    def spend(cls, token: str, now: int) -> bool:
        """Use a token; of many who try at once one does."""
        text = "UPDATE refresh_tokens SET used_at = %s WHERE hash = %s AND used_at IS NULL"
        return bool(db.now(text, (now, digest(token))).rowcount)


class RecoveryCode(Model):
    """A way back in for who lost their authenticator; works once."""

    user_id: str

    id = id_field("rc_")
    user = ForeignKeyField(User, on_delete="CASCADE", index=False)
    code_hash = CharField(max_length=DIGEST)
    used_at = Moment(null=True)

    class Meta:
        table_name = "user_recovery_codes"
        indexes = ((("user", "code_hash"), True),)


class Challenge(Model):
    """A login whose second factor is still asked for: worth nothing but the next try."""

    user_id: str

    id = id_field("chl_")
    user = ForeignKeyField(User, on_delete="CASCADE", index=False)
    tries = IntegerField(default=0)
    used_at = Moment(null=True)
    created_at = Moment(default=now_ms)
    expires_at = Moment(index=True)

    class Meta:
        table_name = "login_challenges"
        indexes = ((("user", "created_at"), False),)


class ApiKey(Model):
    """A key of a person, of a program of the operator's, or of an agent.

    `scopes`: a person's key may do what they may, or with `read` only look; a service key is
    `admin` or `engine`; an agent's key is bound to its agent.
    """

    label = "API key"
    user_id: str | None

    id = id_field("ak_")
    user = ForeignKeyField(User, null=True, on_delete="CASCADE", index=False)
    agent_id = CharField(max_length=IDENTIFIER, null=True)
    name = CharField(max_length=LONGEST_NAME)
    key_hash = CharField(max_length=DIGEST, unique=True)
    key_prefix = CharField(max_length=16)
    scopes = JsonField(default=list)
    is_service_key = BooleanField(default=False)
    is_active = BooleanField(default=True)
    expires_at = Moment(null=True)
    last_used_at = Moment(null=True)
    created_at = Moment(default=now_ms)

    class Meta:
        table_name = "api_keys"
        indexes = ((("user", "created_at", "id"), False), (("created_at", "id"), False))

    @classmethod
    def visible_to(cls, principal: Principal) -> Any:
        """One's own; admins see all."""
        query = cls.select()
        return query if principal.is_admin else query.where(cls.user == principal.id)

    @classmethod
    def caller(cls, token: str) -> Principal | None:
        """Who is behind a key, if it is alive and so is its owner's account."""
        key = next(iter(cls.read(_ALIVE, digest(token), now_ms())), None)
        if key is None:
            return None
        key._note_use()
        return key.principal()

    def principal(self) -> Principal:
        """The caller this key stands for; needs `is_admin` of its user, as `caller` reads it."""
        scopes = frozenset(self.scopes)
        if self.agent_id is not None:
            name = f"agent:{self.agent_id}"
            return Principal(name, "agent", agent_id=self.agent_id, key_id=self.id)
        if self.user_id is not None:
            is_admin = bool(self.__data__.get("owner_is_admin"))
            return Principal(self.user_id, "user", is_admin, scopes, key_id=self.id)
        return Principal(
            f"{PROGRAM}{self.id}",
            "service",
            is_admin="admin" in scopes,
            scopes=scopes,
            key_id=self.id,
            name=self.name,
        )

    def _note_use(self) -> None:
        now = now_ms()
        if (self.last_used_at or 0) < now - USED_MS:
            db.now("UPDATE api_keys SET last_used_at = %s WHERE id = %s", (now, self.id))


def caller(owner_id: str | None) -> Principal:
    """Whoever rows of this owner belong to, as a caller; NotFound when the account is closed."""
    for nobody in (ANONYMOUS, ENGINE):
        if owner_id == nobody.id:
            return nobody
    if owner_id and owner_id.startswith(PROGRAM):
        return Principal(owner_id, "service")
    user = User.find(owner_id) if owner_id else None
    if user is None or not user.is_active:
        raise NotFound("The account that this belongs to is gone")
    return user.principal()


def is_open(owner_id: str | None) -> bool:
    """Whether anything may begin in the name of this owner."""
    try:
        caller(owner_id)
    except NotFound:
        return False
    return True


def digest(token: str) -> str:
    """The SHA-256 of a token that is random enough to need no salt, in hex."""
    return hashlib.sha256(token.encode()).hexdigest()


def keyed_digest(text: str, key: str) -> str:
    """The HMAC-SHA-256 of a short secret, in hex: of no use without the server's key."""
    return hmac.new(key.encode(), text.encode(), hashlib.sha256).hexdigest()


def server_key(purpose: str) -> str:
    """A key of the server's own, made of AUTH_SECRET_KEY; raises Unavailable without it."""
    secret = settings().auth_secret
    if not secret:
        raise Unavailable("Nobody can log in here: AUTH_SECRET_KEY is not set")
    return keyed_digest(purpose, secret)


def successor(token: str) -> str:
    """The refresh token that follows this one: whoever uses it, and however often, gets the same.

    It looks as random as the first, and only this server can make it.
    """
    key = server_key("refresh tokens").encode()
    return base64.urlsafe_b64encode(hmac.digest(key, token.encode(), "sha384")).decode()


def plain_email(text: str) -> str:
    """An address as it is kept and looked up."""
    return text.strip().lower()


def drawn_key(kind: str) -> str:
    """A new key of this kind: `djb_`, `djb_svc_` or `djb_agent_` and 43 characters."""
    return kind + secrets.token_urlsafe(KEY_BYTES)


def users_exist() -> bool:
    """Whether anybody has an account yet."""
    return bool(User.select(User.id).limit(1).exists())


_ALIVE = """
    SELECT api_keys.*, users.is_admin AS owner_is_admin
    FROM api_keys LEFT JOIN users ON users.id = api_keys.user_id
    WHERE api_keys.key_hash = %s AND api_keys.is_active
        AND (api_keys.expires_at IS NULL OR api_keys.expires_at > %s)
        AND (api_keys.user_id IS NULL OR users.is_active)
"""
