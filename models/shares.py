"""Shares: people who may use the server's key of a provider, and how much of it a day.

What a person has used is counted in budgets, one for each person, provider and day (UTC), so that
calls at the same time cannot pass a limit together; `models.spending` sets them aside.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from peewee import CharField, ForeignKeyField, IntegerField

from models.accounts import User
from models.base import JsonField, Model, Moment, db, id_field, now_ms
from models.budgets import SHARE_KEY, TODAY, Budget
from models.errors import Forbidden
from models.llm_calls import dollars
from models.principals import Principal
from models.providers import LONGEST_ID

MORE = "there is more at 00:00 UTC"


class Share(Model):
    """Somebody, or everybody (no target), may use the server's key; the limits are a person's."""

    label = "Share"
    admin_user_id: str | None
    target_user_id: str | None

    id = id_field("asp_")
    admin_user = ForeignKeyField(User, null=True, on_delete="SET NULL", index=False, backref="+")
    provider_id = CharField(max_length=LONGEST_ID)
    target_user = ForeignKeyField(User, null=True, on_delete="CASCADE", index=True, backref="+")
    allowed_models = JsonField(null=True)
    daily_limit = IntegerField(null=True)
    daily_cost_limit_usd = dollars()
    expires_at = Moment(null=True)
    created_at = Moment(default=now_ms)

    class Meta:
        table_name = "admin_shared_providers"
        indexes = ((("provider_id", "target_user"), True), (("created_at", "id"), False))

    @classmethod
    def visible_to(cls, principal: Principal) -> Any:
        """Admins."""
        return cls.select() if principal.is_admin else cls.select().where(False)

    def lasts(self, now: int) -> bool:
        """Whether it has not expired."""
        return self.expires_at is None or self.expires_at > now

    def allows(self, model: str) -> bool:
        """Whether it is good for `provider/model`: named whole, without the provider, or its end.

        What is named with a slash is never taken for the end of another name.
        """
        if self.allowed_models is None:
            return True
        names = {model, model.partition("/")[2], model.rpartition("/")[2]}
        return not names.isdisjoint(self.allowed_models)


def applying(shares: Iterable[Share], now: int) -> Share | None:
    """The share that counts of one person's for one provider: the one made for them, if any."""
    lasting = [share for share in shares if share.lasts(now)]
    return min(lasting, key=lambda share: share.target_user_id is None, default=None)


def refuse_unless_good(user_id: str, provider_id: str, model: str) -> None:
    """Raise Forbidden when the share that counts by now is not good for `provider/model`.

    Where there is none any more, nothing is said: its limits tell that nothing is left.
    """
    held = {"provider": provider_id, "sharer": user_id}
    for share in Share.read_named(_COUNTING, held):
        if not share.allows(model):
            allowed = ", ".join(share.allowed_models)
            raise Forbidden(
                f"The key that is shared with you is not good for {model} any more, only for"
                f" {allowed}. Choose one of those, or set a key of your own."
            )


def for_user(user_id: str) -> dict[str, Share]:
    """The shares that count for a person now, by provider."""
    theirs = (Share.target_user == user_id) | Share.target_user.is_null()
    rows = list(Share.select().where(theirs).order_by(Share.provider_id))
    names = sorted({row.provider_id for row in rows})
    now = now_ms()
    found = {name: applying([r for r in rows if r.provider_id == name], now) for name in names}
    return {name: share for name, share in found.items() if share is not None}


def begin_day(user_id: str, provider_id: str) -> None:
    """Make the budget of the present day, with the limits of the share that counts by now.

    No row is locked where nothing has changed. Where there is no share any more nothing is left.
    """
    db.later(_BEGIN, {"provider": provider_id, "sharer": user_id})


def used_today(user_id: str, provider_ids: Sequence[str]) -> dict[str, Budget]:
    """What a person has used today of the server's keys, by provider."""
    rows = Budget.read(_USED, user_id, list(provider_ids))
    return {row.provider: row for row in rows}


def everybody_today() -> list[Budget]:
    """What each person has used today of each of the server's keys, the dearest first."""
    return Budget.read(_EVERYBODY)


def exhausted(share: Share, used: Budget | None) -> str | None:
    """Why no call more fits today; None when one does."""
    calls, cost = (used.spent_calls, used.spent_usd) if used else (0, 0)
    if share.daily_limit is not None and calls >= share.daily_limit:
        return f"The {share.daily_limit} requests of today are used up; {MORE}"
    limit = share.daily_cost_limit_usd
    if limit is not None and cost >= limit:
        return f"The {limit.normalize():f} US dollars of today are used up; {MORE}"
    return None


_COUNTING = """
    SELECT * FROM admin_shared_providers
    WHERE provider_id = %(provider)s
        AND (target_user_id = %(sharer)s OR target_user_id IS NULL)
        AND (expires_at IS NULL OR expires_at > extract(epoch FROM now()) * 1000)
    ORDER BY target_user_id NULLS LAST LIMIT 1
"""
_BEGIN = f"""
    INSERT INTO budgets (key, run_id, limit_usd, limit_tokens, limit_calls, spent_usd,
        spent_tokens, spent_calls, reserved_usd, reserved_tokens, reserved_calls)
    SELECT {SHARE_KEY}, NULL, wanted.usd, NULL::bigint, wanted.calls, 0, 0, 0, 0, 0, 0
    FROM (
        SELECT share.daily_cost_limit_usd AS usd,
            CASE WHEN share.id IS NULL THEN 0 ELSE share.daily_limit END AS calls
        FROM (SELECT 1) AS one LEFT JOIN LATERAL ({_COUNTING}) AS share ON true
    ) AS wanted
    WHERE NOT EXISTS (
        SELECT 1 FROM budgets WHERE key = {SHARE_KEY}
            AND limit_usd IS NOT DISTINCT FROM wanted.usd
            AND limit_calls IS NOT DISTINCT FROM wanted.calls)
    ON CONFLICT (key) DO UPDATE
        SET limit_usd = excluded.limit_usd, limit_calls = excluded.limit_calls
"""  # noqa: S608
_USED = f"""
    SELECT * FROM budgets WHERE key IN (
        SELECT 'share:' || {TODAY} || ':' || name || ':' || holder
        FROM (SELECT %s::text AS holder) AS one, unnest(%s::text[]) AS name)
"""  # noqa: S608
# Ranges as the index has them; a pattern would have to be known beforehand.
_EVERYBODY = f"""
    SELECT * FROM budgets WHERE key LIKE 'share:%%'
        AND key ~>=~ ('share:' || {TODAY} || ':') AND key ~<~ ('share:' || {TODAY} || ';')
    ORDER BY spent_usd DESC, spent_calls DESC, key
"""  # noqa: S608
