"""Handing keys of providers to the engine, in the clear."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from models import allowances, audit, providers
from models.accounts import User
from models.base import db
from models.errors import Forbidden
from models.keys import Person, person_of
from models.principals import Principal


def for_engine(principal: Principal, user_id: str | None) -> dict[str, Any]:
    """The keys in the clear: the server's, or those that a person's calls may be paid with.

    `me` tells a person whose keys these are without telling the keys.
    """
    if user_id == "me":
        return {**_of_person(person_of(principal)), "keys": {}, "extra": {}}
    if not principal.is_engine:
        raise Forbidden("Only services may do this")
    with db.atomic():
        told = _of_server() if user_id is None else _of_person(_person(user_id))
        audit.record(principal, "provider_keys.read", user_id or "system")
    return told


def _of_server() -> dict[str, Any]:
    usable = [held for held in providers.server().values() if held.enabled and held.api_key]
    named = {held.provider.id: held for held in usable}
    return {
        "keys": {name: held.api_key for name, held in named.items()},
        "extra": {k: v for held in usable for k, v in held.variables.items()},
        "key_sources": {
            name: {"source": "instance", "masked_key": held.masked_key}
            for name, held in named.items()
        },
    }


def _of_person(person: Person) -> dict[str, Any]:
    """By the strict rules: the server's key only where it is shared, admins like everybody."""
    granted = allowances.granted(replace(person, is_admin=False))
    shared = [each for each in granted if each.share]
    open_ones = {each.provider_id: each.key for each in granted if each.key and not each.blocked}
    paying = {name: key for name, key in open_ones.items() if key.credential.api_key}
    extras = [each.held.variables for each in granted if not each.blocked]
    return {
        "keys": {name: key.credential.api_key for name, key in paying.items()},
        "extra": {k: v for variables in extras for k, v in variables.items()},
        "key_sources": {
            name: {"source": key.source, "masked_key": key.masked} for name, key in paying.items()
        },
        "model_restrictions": {
            each.provider_id: each.share.allowed_models
            for each in shared
            if each.share and each.share.allowed_models
        },
        "blocked_providers": {each.provider_id: each.blocked for each in shared if each.blocked},
        "share_usage": {each.provider_id: each.usage() for each in shared},
    }


def _person(user_id: str) -> Person:
    user = User.find(user_id)
    if user is None:
        raise User.missing(user_id)
    return Person(user.id, user.is_admin, user.is_active)
