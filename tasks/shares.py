"""Sharing the server's keys with people, within limits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from models import audit, providers, shares
from models.accounts import User
from models.base import db, now_ms
from models.budgets import Budget, exact
from models.errors import Conflict, Invalid
from models.principals import Principal
from models.providers import ModelProvider
from models.shares import Share

TOP = 5  # people named under a share that is everybody's
CLEARED = ("expires_at", "allowed_models", "daily_limit", "daily_cost_limit_usd")


def create(principal: Principal, form: Mapping[str, Any]) -> Share:
    """Share a provider with a person, or with everybody; Conflict when it is shared so already."""
    target, provider_id = form.get("target_user_id"), form["provider_id"]
    if providers.server_of(provider_id) is None:
        raise ModelProvider.missing(provider_id)
    if target is not None and User.find(target) is None:
        raise User.missing(target)
    share = Share(
        provider_id=provider_id,
        target_user=target,
        admin_user=principal.id if principal.is_person else None,
        **_limits(form),
    )
    with db.atomic():
        if not _inserted(share):
            whom = target or "everybody"
            raise Conflict(f"{provider_id} is shared with {whom} already: change that share")
        audit.record(principal, "share.create", share.id, provider=provider_id, user=target)
    return share


def change(principal: Principal, share_id: str, form: Mapping[str, Any]) -> Share:
    """Change what a share allows; `clear` names limits to take away."""
    changes = _limits(form) | {name: None for name in CLEARED if form.get(f"clear_{name}")}
    with db.atomic():
        share = next(iter(Share.read(_LOCKED, share_id)), None)
        if share is None:
            raise Share.missing(share_id)
        if changes:
            share.put(**changes)
            audit.record(principal, "share.change", share_id, changed=sorted(changes))
    return share


def revoke(principal: Principal, share_id: str) -> None:
    """Share no longer; calls under way end, no further one is made."""
    with db.atomic():
        if not Share.delete().where(Share.id == share_id).execute():
            raise Share.missing(share_id)
        audit.record(principal, "share.revoke", share_id)


def usage() -> list[dict[str, Any]]:
    """How much of each share has been used today, the newest share first."""
    rows = list(Share.select().order_by(Share.created_at.desc(), Share.id.desc()))
    used = shares.everybody_today()
    now = now_ms()
    lasting = [row for row in rows if row.lasts(now)]
    return [_usage(share, _of(share, lasting, used)) for share in rows]


def _of(share: Share, lasting: list[Share], used: list[Budget]) -> list[Budget]:
    """What has been used of a share: everybody's is not that of who has a share of their own."""
    same = [row for row in lasting if row.provider_id == share.provider_id]
    named = {row.target_user_id for row in same if row.target_user_id}
    own = share.target_user_id
    return [
        budget
        for budget in used
        if budget.provider == share.provider_id
        and (budget.holder == own if own else budget.holder not in named)
    ]


def _usage(share: Share, used: list[Budget]) -> dict[str, Any]:
    sums = Budget(
        spent_calls=sum(each.spent_calls for each in used),
        spent_usd=sum((each.spent_usd for each in used), exact(0)),
    )
    blocked = shares.exhausted(share, sums) if share.target_user_id else None
    top = [
        {"userId": each.holder, "callsToday": each.spent_calls, "costTodayUsd": each.spent_usd}
        for each in used[:TOP]
    ]
    return {
        "share": share,
        "calls_today": sums.spent_calls,
        "cost_today_usd": sums.spent_usd,
        "limit_exceeded": blocked is not None,
        "exceeded_reason": blocked,
        "top_users": [] if share.target_user_id else top,
    }


def _limits(form: Mapping[str, Any]) -> dict[str, Any]:
    """The limits that a form sets, as the columns take them."""
    told = {name: form[name] for name in CLEARED if form.get(name) is not None}
    if "expires_at" in told and told["expires_at"] <= now_ms():
        fault = {"loc": ["body", "expiresAt"], "msg": "Already past.", "type": "invalid"}
        raise Invalid("expiresAt: Already past.", errors=[fault])
    if "daily_cost_limit_usd" in told:
        told["daily_cost_limit_usd"] = exact(told["daily_cost_limit_usd"])
    return told


def _inserted(share: Share) -> bool:
    values = {name: value for name, value in share.__data__.items() if value is not None}
    query = Share.insert(values).on_conflict_ignore().returning(Share.id)
    return bool(list(query.tuples()))


_LOCKED = "SELECT * FROM admin_shared_providers WHERE id = %s FOR UPDATE"
