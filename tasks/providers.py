"""Setting up providers: the server's keys, custom providers, the keys that people bring."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from models import allowances, audit, catalogue, keys, outbound, providers
from models.base import db, dumps, now_ms
from models.catalogue import AZURE_RESOURCE, CUSTOM, Extra, Provider
from models.config import settings
from models.errors import Conflict, Forbidden, Invalid
from models.keys import Person
from models.masking import mask
from models.principals import Principal
from models.providers import ENV, UI, Held, ModelProvider, UserProvider
from models.shares import Share

MOST_CUSTOM = 100
RESOURCE = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,62}")


def set_server(principal: Principal, provider_id: str, form: Mapping[str, Any]) -> Held:
    """Change a provider as the server has it; what is not named stays as it is.

    What our engine tells of its environment takes nothing back that an admin has set.
    """
    before = providers.server_of(provider_id)
    if before is None:
        raise ModelProvider.missing(provider_id)
    with db.atomic():
        row = _locked(before.provider)
        kept = providers.opened(before.provider, row)
        reported = principal.is_service and "admin" not in principal.scopes
        if reported and row.source == UI and kept.api_key:
            return providers.merged(provider_id, row)
        changed = _changed(kept, providers.merged(provider_id, row), form)
        if not reported and "enabled" in form:
            row.enabled = form["enabled"]
        if changed != kept:
            row.source = ENV if reported else UI
        _write(row, kept, changed)
        _record(principal, "provider.set", provider_id, form)
    return providers.merged(provider_id, row)


def make_custom(principal: Principal, form: Mapping[str, Any]) -> Held:
    """A provider of one's own that speaks as OpenAI does, called `custom-<slug>`."""
    slug = form["slug"].strip().lower()
    provider = catalogue.provider_of(CUSTOM + slug, form["name"])
    if provider is None or not catalogue.SLUG.fullmatch(slug):
        raise _invalid("slug", "2 to 32 of a-z, 0-9 and -, the first one no dash")
    if providers.server_of(provider.id) is not None:
        raise Conflict(f"There is a provider {provider.id} already")
    where = {provider.address_variable: form["baseUrl"]}
    told = {"apiKey": form.get("apiKey"), "extraConfig": where}
    with db.atomic():
        db.execute_sql("LOCK TABLE model_providers IN SHARE ROW EXCLUSIVE MODE")
        rows = ModelProvider.select(ModelProvider.id).where(ModelProvider.id.startswith(CUSTOM))
        if rows.count() >= MOST_CUSTOM:
            raise Conflict(f"There are {MOST_CUSTOM} custom providers, which is all there may be")
        if ModelProvider.find(provider.id) is not None:
            raise Conflict(f"There is a provider {provider.id} already")
        row = ModelProvider(id=provider.id, name=form["name"].strip())
        row.add()
        nothing = Held(provider)
        _write(row, nothing, _changed(nothing, nothing, told, "baseUrl"))
        _record(principal, "provider.create", provider.id, told)
    return providers.merged(provider.id, row)


def remove_server(principal: Principal, provider_id: str) -> None:
    """Forget what was set for a provider; a custom one is gone then, and so are its shares."""
    with db.atomic():
        gone = ModelProvider.delete().where(ModelProvider.id == provider_id).execute()
        if provider_id.startswith(CUSTOM):
            gone += Share.delete().where(Share.provider_id == provider_id).execute()
        if gone:
            audit.record(principal, "provider.remove", provider_id)


def set_own(
    principal: Principal, provider_id: str, form: Mapping[str, Any]
) -> allowances.Allowance:
    """Bring a key of one's own; what is not named stays as it is.

    Forbidden: base URLs, which the server would ask, are for admins.
    """
    person = keys.person_of(principal)
    provider = _known(principal, provider_id, form.get("extraConfig") or {})
    with db.atomic():
        row = _locked_own(person, provider_id)
        kept = providers.opened(provider, row)
        changed = _changed(kept, kept, form)
        addresses = {extra.variable for extra in provider.extras if extra.is_address}
        moved = any(changed.extra.get(name) != kept.extra.get(name) for name in addresses)
        if moved and not principal.is_admin:
            raise Forbidden("Only admins may set base URLs: the server itself asks them")
        row.enabled = form.get("enabled", row.enabled)
        _write(row, kept, changed)
        _record(principal, "own_provider.set", provider_id, form)
    return next(each for each in allowances.of(person) if each.provider_id == provider_id)


def remove_own(principal: Principal, provider_id: str) -> None:
    """Forget a key of one's own; nothing happens where there is none."""
    mine = (UserProvider.user == principal.id) & (UserProvider.provider_id == provider_id)
    with db.atomic():
        if UserProvider.delete().where(mine).execute():
            audit.record(principal, "own_provider.remove", provider_id)


def _known(principal: Principal, provider_id: str, extra: Mapping[str, str]) -> Provider:
    """The provider a person may bring a key to: the server's, or a custom one of an admin's own."""
    held = providers.server_of(provider_id)
    if held is not None:
        return held.provider
    custom = catalogue.provider_of(provider_id)
    mine = custom and custom.is_custom and principal.is_admin
    if custom is None or not mine or not extra.get(custom.address_variable):
        raise ModelProvider.missing(provider_id)
    return custom


def _locked(provider: Provider) -> ModelProvider:
    """The row under its lock, made if it is not there yet; a custom provider is its row."""
    now = now_ms()
    if not provider.is_custom or provider.id in settings().providers:
        db.later(_MAKE, (provider.id, UI, now, now))
    for row in ModelProvider.read(_LOCKED, provider.id):
        return row
    raise ModelProvider.missing(provider.id)


def _locked_own(person: Person, provider_id: str) -> UserProvider:
    now = now_ms()
    made = (UserProvider.id.default(), person.id, provider_id, now, now)
    db.later(_MAKE_OWN, made)
    (row,) = UserProvider.read(_OWN, person.id, provider_id)
    return row


def _write(row: ModelProvider | UserProvider, kept: Held, changed: Held) -> None:
    """Write what has changed: what does not open today may open tomorrow."""
    if changed.api_key != kept.api_key:
        row.lock_up(api_key=changed.api_key)
    if changed.extra != kept.extra:
        row.lock_up(extra_config=dumps(dict(changed.extra)) if changed.extra else None)
    source = {"source": row.source} if isinstance(row, ModelProvider) else {}
    sealed = {"api_key": row.api_key, "extra_config": row.extra_config}
    row.put(enabled=row.enabled, updated_at=now_ms(), **sealed, **source)


def _record(principal: Principal, action: str, subject: str, form: Mapping[str, Any]) -> None:
    """Tell the audit log what was set, but of keys and values only that they were."""
    told = {"key": bool(form.get("apiKey")), "extra": sorted(form.get("extraConfig") or {})}
    audit.record(principal, action, subject, enabled=form.get("enabled"), **told)


def _changed(kept: Held, shown: Held, form: Mapping[str, Any], named: str | None = None) -> Held:
    """What is kept with the changes of a form; a mask that comes back is no change.

    `shown` is what the masks were made of, `named` how the form calls its further values.
    """
    key = (form.get("apiKey") or "").strip()
    if key and key != shown.masked_key:
        if not key.isascii() or not key.isprintable() or " " in key:
            raise _invalid("apiKey", "A key is ASCII text without blanks")
        kept = replace(kept, api_key=key)
    extra = dict(kept.extra)
    declared = {each.variable: each for each in kept.provider.extras}
    for name, value in (form.get("extraConfig") or {}).items():
        place = named or f"extraConfig.{name}"
        if name not in declared:
            raise _invalid(place, f"{kept.provider.name} takes {_listed(declared)}")
        if not value.strip():
            extra.pop(name, None)
        elif value != mask(shown.extra.get(name, "")):
            extra[name] = _checked(declared[name], value.strip(), place)
    return replace(kept, extra=extra)


def _checked(extra: Extra, value: str, place: str) -> str:
    """A value that may stand in a request; an address is one we may send requests to."""
    if not value.isascii() or not value.isprintable():
        raise _invalid(place, "Only printable ASCII text")
    if extra.variable == AZURE_RESOURCE and not RESOURCE.fullmatch(value):
        raise _invalid(place, "The name of a resource: letters, digits and -")
    if extra.is_address and "?" in value:
        raise _invalid(place, "A base URL ends with its path")
    return outbound.checked(value, place, private_networks=True) if extra.is_address else value


def _listed(declared: Mapping[str, Extra]) -> str:
    return ", ".join(declared) or "no further values"


def _invalid(place: str, message: str) -> Invalid:
    fault = {"loc": ["body", *place.split(".", 1)], "msg": message, "type": "invalid"}
    return Invalid(f"{place}: {message}", errors=[fault])


_MAKE = """
    INSERT INTO model_providers (id, enabled, source, created_at, updated_at)
    VALUES (%s, true, %s, %s, %s) ON CONFLICT DO NOTHING
"""
_LOCKED = "SELECT * FROM model_providers WHERE id = %s FOR UPDATE"
_MAKE_OWN = """
    INSERT INTO user_model_providers (id, user_id, provider_id, enabled, created_at, updated_at)
    VALUES (%s, %s, %s, true, %s, %s) ON CONFLICT DO NOTHING
"""
_OWN = """
    SELECT * FROM user_model_providers WHERE user_id = %s AND provider_id = %s FOR UPDATE
"""
