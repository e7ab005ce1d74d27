"""Keeping secrets, and giving them to people and agents."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from models import audit
from models.accounts import User
from models.base import db, now_ms
from models.errors import Conflict, Forbidden, Malformed, NotFound
from models.masking import mask
from models.principals import Principal
from models.runs import Run
from models.secrets import (
    INSTANCE,
    MOST,
    USER,
    AgentGrant,
    Environment,
    Secret,
    UserGrant,
    granted,
    usable,
)


def create(principal: Principal, form: Mapping[str, Any]) -> Secret:
    """Keep a secret: for the instance when an admin or a service brings it, else for its owner."""
    person = principal.is_person and not principal.is_admin
    with db.atomic():
        secret = Secret(
            owner=principal.id if person else None,
            scope=USER if person else INSTANCE,
            **{name: form[name] for name in form if name != "value"},
        )
        _refuse_too_many(secret)
        _fill(secret, form["value"])
        secret.add()
        _record(principal, "secret.created", secret, scope=secret.scope)
    return secret


def change(principal: Principal, secret_id: str, form: Mapping[str, Any]) -> Secret:
    """Write these fields; the mask sent back as the value keeps the value."""
    with db.atomic():
        secret = _owned(principal, secret_id)
        changes = {name: form[name] for name in form if name != "value"}
        if form.get("value", secret.masked_preview) != secret.masked_preview:
            _fill(secret, form["value"])
            changes |= {"value": secret.value, "masked_preview": secret.masked_preview}
        secret.put(**changes, updated_at=now_ms())
        _record(principal, "secret.changed", secret, fields=sorted(changes))
    return secret


def delete(principal: Principal, secret_id: str) -> None:
    """Forget a secret, and with it who was given it."""
    with db.atomic():
        secret = _owned(principal, secret_id)
        secret.delete_instance()
        _record(principal, "secret.deleted", secret, name=secret.name)


def grant(principal: Principal, secret_id: str, agent_id: str) -> AgentGrant:
    """Let an agent have a secret; once is enough."""
    with db.atomic():
        secret = _held(principal, secret_id)
        given = AgentGrant.get_or_none(secret=secret.id, agent_id=agent_id)
        if given is not None:
            return given
        given = AgentGrant(secret=secret.id, agent_id=agent_id, granted_by=principal.id).add()
        _record(principal, "secret.granted", secret, agent=agent_id)
    return given


def revoke(principal: Principal, secret_id: str, agent_id: str) -> None:
    """Take a secret from an agent: its next step begins without."""
    with db.atomic():
        secret = _held(principal, secret_id)
        given = (AgentGrant.secret == secret.id) & (AgentGrant.agent_id == agent_id)
        if not AgentGrant.delete().where(given).execute():
            raise NotFound(f"Agent {agent_id} was not given this secret")
        _record(principal, "secret.revoked", secret, agent=agent_id)


def lend(principal: Principal, secret_id: str, user: User) -> bool:
    """Let a person use a secret of the instance; False when they could already."""
    with db.atomic():
        secret = _held(principal, secret_id)
        if secret.scope != INSTANCE:
            raise Malformed("Only secrets of the instance are given to people")
        if UserGrant.get_or_none(secret=secret.id, user=user.id) is not None:
            return False
        UserGrant(secret=secret.id, user=user.id, granted_by=principal.id).add()
        _record(principal, "secret.lent", secret, user=user.id)
    return True


def take_back(principal: Principal, secret_id: str, user_id: str) -> None:
    """Take a secret from a person, and from the agents that they gave it to."""
    with db.atomic():
        secret = _held(principal, secret_id)
        lent = (UserGrant.secret == secret.id) & (UserGrant.user == user_id)
        if not UserGrant.delete().where(lent).execute():
            raise NotFound(f"User {user_id} was not given this secret")
        passed_on = (AgentGrant.secret == secret.id) & (AgentGrant.granted_by == user_id)
        AgentGrant.delete().where(passed_on).execute()
        _record(principal, "secret.taken_back", secret, user=user_id)


def hand_out(principal: Principal, agent_id: str) -> Environment:
    """An agent's variables, and the entry that says who read them.

    The key of an agent at work in a run gets what the run's owner may use.
    """
    with db.atomic():
        run = Run.find(principal.run_id) if principal.run_id else None
        handed = usable(agent_id, run.owner_id or "") if run else granted(agent_id)
        about = {"secrets": list(handed.secrets), "run": principal.run_id}
        audit.record(principal, "secret.read", agent_id, **about)
    return handed


def _fill(secret: Secret, value: str) -> None:
    secret.lock_up(value=value)
    secret.masked_preview = mask(value)


def _held(principal: Principal, secret_id: str) -> Secret:
    """The secret under its row lock, if the caller may use it.

    Locked first and read after: one statement would see grants as they were before the wait.
    """
    db.later("SELECT 1 FROM secrets WHERE id = %s FOR NO KEY UPDATE", (secret_id,))
    secret: Secret | None = Secret.visible_to(principal).where(Secret.id == secret_id).first()
    if secret is None:
        raise Secret.missing(secret_id)
    return secret


def _owned(principal: Principal, secret_id: str) -> Secret:
    """The secret under its row lock, if the caller may change it."""
    secret = _held(principal, secret_id)
    if not secret.edited_by(principal):
        raise Forbidden("You may use this secret; only its owner or an admin may change it")
    return secret


def _refuse_too_many(secret: Secret) -> None:
    kept = Secret.select().where(Secret.owner == secret.owner_id).count()
    if kept >= MOST:
        raise Conflict(f"There are {MOST} secrets already: delete one that is not needed")


def _record(principal: Principal, action: str, secret: Secret, **details: Any) -> None:
    audit.record(principal, action, secret.id, **details)
