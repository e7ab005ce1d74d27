"""Providers as somebody has set them up: the server's own keys, and those that people bring.

Keys and further values are sealed (`models.vault`). What admins set wins over the environment,
which is good for whatever they left open; what our engine reports of its own environment
(`source` env) does not win over what an admin has set.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from peewee import BooleanField, CharField, ForeignKeyField

from models import catalogue
from models.accounts import User
from models.base import Moment, db, id_field, now_ms
from models.catalogue import AZURE_RESOURCE, PROVIDERS, Provider
from models.config import settings
from models.credentials import Credential
from models.errors import Unavailable
from models.logs import log
from models.masking import mask_key
from models.principals import Principal
from models.vault import Sealed, Unreadable, Vaulted

ENV, UI = "env", "ui"  # where a key of the server's comes from
LONGEST_ID = 64


class ModelProvider(Vaulted):
    """A provider as the server has it."""

    label = "Provider"

    id = CharField(max_length=LONGEST_ID, primary_key=True)
    name = CharField(max_length=128, null=True)  # of a custom one
    enabled = BooleanField(default=True)
    source = CharField(max_length=8, default=UI)
    api_key = Sealed(null=True)
    extra_config = Sealed(null=True)
    created_at = Moment(default=now_ms)
    updated_at = Moment(default=now_ms)

    class Meta:
        table_name = "model_providers"

    @classmethod
    def visible_to(cls, principal: Principal) -> Any:
        """Everybody who may call: what is secret of it is never shown."""
        return cls.select()


class UserProvider(Vaulted):
    """A provider to which a person brings a key of their own."""

    label = "Provider"
    user_id: str

    id = id_field("ump_")
    user = ForeignKeyField(User, on_delete="CASCADE", index=False)
    provider_id = CharField(max_length=LONGEST_ID)
    enabled = BooleanField(default=True)
    api_key = Sealed(null=True)
    extra_config = Sealed(null=True)
    created_at = Moment(default=now_ms)
    updated_at = Moment(default=now_ms)

    class Meta:
        table_name = "user_model_providers"
        indexes = ((("user", "provider_id"), True),)

    @classmethod
    def visible_to(cls, principal: Principal) -> Any:
        """One's own: nobody else has a use for them."""
        return cls.select().where(cls.user == principal.id)


@dataclass(frozen=True)
class Held:
    """A provider with what somebody has for it, opened."""

    provider: Provider
    enabled: bool = False
    api_key: str | None = field(default=None, repr=False)
    extra: Mapping[str, str] = field(default_factory=dict, repr=False)
    source: str | None = None

    @property
    def configured(self) -> bool:
        return self.provider.is_configured(self.api_key, self.extra)

    @property
    def usable(self) -> bool:
        return self.enabled and self.configured

    @property
    def masked_key(self) -> str | None:
        return mask_key(self.api_key) if self.api_key else None

    @property
    def credential(self) -> Credential:
        """What opens it; addresses that the environment does not name are judged."""
        base_url = self.extra.get(self.provider.address_variable)
        usual = settings().providers.get(self.provider.id)
        guarded = base_url is not None and (usual is None or usual.base_url != base_url)
        return Credential(self.api_key, base_url, self.extra, guarded)

    @property
    def variables(self) -> dict[str, str]:
        """The further values that the provider declares, by their variables."""
        return {
            extra.variable: self.extra[extra.variable]
            for extra in self.provider.extras
            if extra.variable in self.extra
        }

    def leaning_on(self, server: Held) -> Held:
        """A person's own, at the server's address where they have none of their own.

        Only where the server has a key itself: one that asks for none would take any key.
        """
        own = {self.provider.address_variable, AZURE_RESOURCE} & set(self.extra)
        if own or not (server.enabled and server.api_key):
            return self
        return replace(self, extra={**server.extra, **self.extra})


def server() -> dict[str, Held]:
    """All providers as the server has them, by id: in the catalogue's order, then custom ones."""
    rows = {row.id: row for row in ModelProvider.select().order_by(ModelProvider.id)}
    custom = {*rows, *settings().providers} - {*PROVIDERS}
    ids = [*PROVIDERS, *sorted(name for name in custom if catalogue.provider_of(name))]
    return {name: merged(name, rows.get(name)) for name in ids}


def known() -> set[str]:
    """The ids of the providers for which the server or somebody has anything."""
    text = "SELECT id FROM model_providers UNION SELECT provider_id FROM user_model_providers"
    return {*settings().providers, *(row[0] for row in db.now(text))}


def server_of(provider_id: str) -> Held | None:
    """One provider as the server has it; None for an id that names none."""
    row = ModelProvider.find(provider_id)
    known = provider_id in PROVIDERS or row or provider_id in settings().providers
    return merged(provider_id, row) if known else None


def owned_by(user_id: str) -> dict[str, Held]:
    """The providers that a person has rows for, in the catalogue's order, then custom ones."""
    rows = {
        row.provider_id: row for row in UserProvider.select().where(UserProvider.user == user_id)
    }
    ids = [*(name for name in PROVIDERS if name in rows), *sorted({*rows} - {*PROVIDERS})]
    names = {row.id: row.name for row in ModelProvider.select(ModelProvider.id, ModelProvider.name)}
    found = {name: catalogue.provider_of(name, names.get(name)) for name in ids}
    return {name: opened(provider, rows[name]) for name, provider in found.items() if provider}


def merged(provider_id: str, row: ModelProvider | None) -> Held:
    """What an admin has set, and the environment where they have set nothing."""
    provider = catalogue.provider_of(provider_id, row.name if row else None)
    if provider is None:
        raise ModelProvider.missing(provider_id)
    found = settings().providers.get(provider_id)
    usual = _of_environment(provider, found) if found else Held(provider)
    if row is None:
        return usual
    told = opened(provider, row)
    if row.source == ENV:
        key = usual.api_key or told.api_key
        return replace(told, api_key=key, extra={**told.extra, **usual.extra}, source=ENV)
    source = UI if told.api_key or not usual.api_key else ENV
    key = told.api_key or usual.api_key
    return replace(told, api_key=key, extra={**usual.extra, **told.extra}, source=source)


def _of_environment(provider: Provider, found: Credential) -> Held:
    where = {provider.address_variable: found.base_url} if found.base_url else {}
    return Held(provider, True, found.api_key, {**found.extra, **where}, ENV)


def opened(provider: Provider, row: ModelProvider | UserProvider) -> Held:
    """What a row says; one that no key of the vault opens says nothing."""
    try:
        key, extra = row.reveal("api_key"), json.loads(row.reveal("extra_config") or "{}")
    except (Unreadable, Unavailable) as error:
        log.warning("a provider's key does not open", provider=provider.id, error=str(error))
        key, extra = None, {}
    return Held(provider, row.enabled, key, extra, getattr(row, "source", UI))
