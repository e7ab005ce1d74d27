"""Making and revoking API keys; a key is told once, and only its digest is kept."""

from __future__ import annotations

from typing import Any, NamedTuple

from models import audit
from models.accounts import AGENT, SERVICE, SHOWN, USER, ApiKey, digest, drawn_key
from models.agents import Agent
from models.base import db, now_ms
from models.errors import Conflict, Forbidden
from models.principals import Principal
from tasks.proofs import logged_in

MOST = 100  # living keys of one person, and of the operator's programs
DAY_MS = 24 * 3_600_000
SERVICES = 0x646A_6B73  # the advisory lock of whoever counts the operator's keys


class Minted(NamedTuple):
    """A key, and its text if it was made just now."""

    key: ApiKey
    text: str | None


def mint(principal: Principal, name: str, days: int | None, scopes: list[str]) -> Minted:
    """Make a key that acts as the caller, who has logged in."""
    with db.atomic():
        user = logged_in(principal)
        _leave_room(ApiKey.user == user.id)
        return _minted(principal, USER, days, name=name, user_id=user.id, scopes=scopes)


def mint_service(principal: Principal, name: str, days: int | None, scopes: list[str]) -> Minted:
    """Make a key for a program of the operator's; nobody's key may do this, not even an admin's."""
    if principal.key_id is not None:
        raise Forbidden("Log in to do this; a key may not")
    with db.atomic():
        db.execute_sql("SELECT pg_advisory_xact_lock(%s)", (SERVICES,))
        _leave_room(ApiKey.user.is_null() & ApiKey.agent_id.is_null())
        return _minted(principal, SERVICE, days, name=name, is_service_key=True, scopes=scopes)


def of_agent(principal: Principal, agent: Agent, rotate: bool) -> Minted:
    """The key of an agent, made if there is none; with `rotate` in place of the one there is."""
    its = ApiKey.agent_id == agent.id
    with db.atomic():
        db.execute_sql("SELECT id FROM agents WHERE id = %s FOR NO KEY UPDATE", (agent.id,))
        found = None if rotate else ApiKey.select().where(its, _living()).first()
        if found is not None:
            return Minted(found, None)
        ApiKey.update(is_active=False).where(its, ApiKey.is_active).execute()
        named = {"name": f"agent:{agent.id}", "agent_id": agent.id}
        return _minted(principal, AGENT, None, **named, is_service_key=True)


def revoke(principal: Principal, key: ApiKey) -> None:
    """Let the key open nothing from now on; doing it again changes nothing."""
    with db.atomic():
        living = (ApiKey.id == key.id) & ApiKey.is_active
        if ApiKey.update(is_active=False).where(living).execute():
            audit.record(principal, "key.revoked", key.id, name=key.name)


def _living() -> Any:
    return ApiKey.is_active & (ApiKey.expires_at.is_null() | (ApiKey.expires_at > now_ms()))


def _leave_room(whose: object) -> None:
    if ApiKey.select().where(_living(), whose).count() >= MOST:
        raise Conflict(f"There are {MOST} keys; revoke one that is not needed")


def _minted(principal: Principal, kind: str, days: int | None, **columns: object) -> Minted:
    text = drawn_key(kind)
    expires_at = None if days is None else now_ms() + days * DAY_MS
    shown = {"key_hash": digest(text), "key_prefix": text[: SHOWN[kind]]}
    key = ApiKey(**shown, **columns, expires_at=expires_at).add()
    audit.record(principal, "key.created", key.id, name=key.name, scopes=key.scopes)
    return Minted(key, text)
