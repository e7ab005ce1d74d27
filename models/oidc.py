"""Identity providers, who they say people are, and the logins that are under way at them."""

from __future__ import annotations

from typing import Any, Self

from peewee import BooleanField, CharField, CompositeKey, ForeignKeyField

from models.accounts import DIGEST, LONGEST_NAME, User, digest
from models.base import Model, Moment, db, id_field, now_ms
from models.errors import Unavailable
from models.outbound import LONGEST_URL
from models.principals import Principal
from models.vault import Sealed, Unreadable, Vaulted

LONGEST_ISSUER, LONGEST_SUBJECT = 512, 255  # characters; OpenID Connect Core 1.0, section 2
LONGEST_SLUG, LONGEST_SCOPES, LONGEST_CLIENT = 64, 512, 512
LOGIN_MS = 300_000  # how long somebody may take at the provider


class OidcProvider(Vaulted):
    """A provider that people may log in with (OpenID Connect)."""

    label = "Identity provider"

    id = id_field("oidc_")
    slug = CharField(max_length=LONGEST_SLUG, unique=True)
    name = CharField(max_length=LONGEST_NAME)
    issuer_url = CharField(max_length=LONGEST_ISSUER)
    client_id = CharField(max_length=LONGEST_CLIENT)
    client_secret = Sealed()
    masked_client_secret = CharField(max_length=32, null=True)
    scopes = CharField(max_length=LONGEST_SCOPES)
    button_text = CharField(max_length=128, null=True)
    button_color = CharField(max_length=32, null=True)
    icon_url = CharField(max_length=LONGEST_URL, null=True)
    auto_discovery = BooleanField(default=True)
    enabled = BooleanField(default=True)
    authorization_endpoint = CharField(max_length=LONGEST_URL, null=True)
    token_endpoint = CharField(max_length=LONGEST_URL, null=True)
    userinfo_endpoint = CharField(max_length=LONGEST_URL, null=True)
    jwks_uri = CharField(max_length=LONGEST_URL, null=True)
    created_at = Moment(default=now_ms)
    updated_at = Moment(default=now_ms)

    class Meta:
        table_name = "oidc_providers"

    @classmethod
    def visible_to(cls, principal: Principal) -> Any:
        """Admins see all; others see those that are offered, and not how they are set up."""
        return cls.select() if principal.is_admin else cls.select().where(False)

    @classmethod
    def id_of(cls, key: str) -> str:
        """The id of the provider with this id or slug; what is neither stays as it is."""
        text = "SELECT id FROM oidc_providers WHERE id = %s OR slug = %s ORDER BY id = %s DESC"
        row = db.now(text, (key, key, key)).fetchone()
        return str(row[0]) if row else key

    @classmethod
    def offered(cls, slug: str) -> Self:
        """The provider to log in with; one that is disabled is as good as none."""
        text = "SELECT * FROM oidc_providers WHERE slug = %s AND enabled"
        for provider in cls.read(text, slug):
            return provider
        raise cls.missing(slug)

    @classmethod
    def held(cls, provider_id: str) -> Self:
        """The same by its id, which the current transaction keeps as it is."""
        text = "SELECT * FROM oidc_providers WHERE id = %s AND enabled FOR SHARE"
        for provider in cls.read(text, provider_id):
            return provider
        raise cls.missing(provider_id)

    @classmethod
    def all_offered(cls) -> list[Self]:
        """Every provider to log in with, by name, without its credentials."""
        text = """
            SELECT id, slug, name, button_text, button_color, icon_url
            FROM oidc_providers WHERE enabled ORDER BY name, id
        """
        return cls.read(text)

    def secret(self) -> str:
        """The client secret; raises Unavailable when it does not open any more."""
        try:
            return self.reveal("client_secret") or ""
        except Unreadable as error:
            raise Unavailable(f"The client secret of {self.slug} must be set anew") from error


class Identity(Model):
    """Somebody at a provider who is a user of ours: known by the subject, never by the address.

    `email_verified` is whether the provider has vouched for the address of the account: one that
    was made without that is given to nobody who has just the address.
    """

    user_id: str

    provider = ForeignKeyField(OidcProvider, on_delete="CASCADE", index=False)
    issuer = CharField(max_length=LONGEST_ISSUER)  # whose subject it is, should the provider move
    subject = CharField(max_length=LONGEST_SUBJECT)
    user = ForeignKeyField(User, on_delete="CASCADE", index=True)
    email_verified = BooleanField()
    created_at = Moment(default=now_ms)

    class Meta:
        table_name = "user_identities"
        primary_key = CompositeKey("provider", "issuer", "subject")

    @classmethod
    def of(cls, provider_id: str, issuer: str, subject: str) -> Self | None:
        text = """
            SELECT * FROM user_identities
            WHERE provider_id = %s AND issuer = %s AND subject = %s
        """
        return next(iter(cls.read(text, provider_id, issuer, subject)), None)

    @classmethod
    def is_doubtful(cls, user_id: str) -> bool:
        """Whether a provider made this account without vouching for its address."""
        text = "SELECT 1 FROM user_identities WHERE user_id = %s AND NOT email_verified LIMIT 1"
        return db.now(text, (user_id,)).fetchone() is not None

    def vouch(self) -> None:
        """The provider has now vouched for the address of the account."""
        text = """
            UPDATE user_identities SET email_verified = TRUE
            WHERE provider_id = %s AND issuer = %s AND subject = %s
        """
        db.later(text, (self.__data__["provider"], self.issuer, self.subject))


class OidcLogin(Vaulted):
    """A login under way: what comes back from the provider is checked against it, once."""

    provider_id: str

    state_hash = CharField(max_length=DIGEST, primary_key=True)
    provider = ForeignKeyField(OidcProvider, on_delete="CASCADE", index=True)
    verifier = Sealed()  # of PKCE (RFC 7636)
    redirect_uri = CharField(max_length=LONGEST_URL)
    browser_hash = CharField(max_length=DIGEST, null=True)  # of the cookie of who began it
    next_path = CharField(max_length=LONGEST_URL, null=True)
    expires_at = Moment(index=True)

    class Meta:
        table_name = "oidc_logins"

    @classmethod
    def take(cls, state: str) -> Self | None:
        """The login with this state, taken away: of many who bring the state one gets it."""
        text = "DELETE FROM oidc_logins WHERE state_hash = %s RETURNING *"
        rows = cls.read(text, digest(state))
        return next((row for row in rows if row.expires_at > now_ms()), None)


def forget_old() -> int:
    """Delete the logins from which nobody came back."""
    return int(OidcLogin.delete().where(OidcLogin.expires_at < now_ms()).execute())
