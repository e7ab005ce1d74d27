"""Budgets: how much runs and users may spend, what they have spent, what calls have set aside.

Rows exist where there are limits: `run:<id>`, `swarm:<id>` for all its executors together,
`user:<id>:<day>` while the settings have a daily limit, and `share:<day>:<provider>:<user>` for
what somebody may use of the server's keys (`models.shares`). Days are UTC, by the database's clock,
as the transaction begins. Rows are locked after the run's row and in the order of their keys,
because calls of several runs share them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import ROUND_CEILING, Decimal
from typing import Any

from peewee import BigIntegerField, CharField, CompositeKey, DecimalField, ForeignKeyField

from models.base import IDENTIFIER, Model, db, places
from models.config import settings
from models.llm_calls import dollars
from models.runs import Run

DAY = "date_trunc('day', now() AT TIME ZONE 'UTC')"
DAY_KEY = f"'user:' || %(user)s::text || ':' || to_char({DAY}, 'YYYY-MM-DD')"  # null without a user
TODAY = f"to_char({DAY}, 'YYYY-MM-DD')"
SHARE_KEY = f"'share:' || {TODAY} || ':' || %(provider)s::text || ':' || %(sharer)s::text"
FINEST = Decimal("0.00000001")  # US dollars, what the columns resolve
LONGEST_KEY = 160


def known_dollars() -> DecimalField:
    """US dollars that are always known."""
    return DecimalField(max_digits=16, decimal_places=8, default=Decimal(0))


class Budget(Model):
    """What a run, a swarm, or a user on one day may spend, has spent, and has set aside."""

    label = "Budget"
    run_id: str | None

    key = CharField(max_length=LONGEST_KEY, primary_key=True)
    run = ForeignKeyField(Run, null=True, on_delete="CASCADE")
    limit_usd = dollars()
    limit_tokens = BigIntegerField(null=True)
    limit_calls = BigIntegerField(null=True)
    spent_usd = known_dollars()
    spent_tokens = BigIntegerField(default=0)
    spent_calls = BigIntegerField(default=0)
    reserved_usd = known_dollars()
    reserved_tokens = BigIntegerField(default=0)
    reserved_calls = BigIntegerField(default=0)

    class Meta:
        table_name = "budgets"

    @property
    def scope(self) -> str:
        """Whose budget it is: `run`, `swarm`, `user_day` or `share`."""
        kind = self.key.partition(":")[0]
        return "user_day" if kind == "user" else kind

    @property
    def holder(self) -> str:
        """The id of the run, swarm or user."""
        if self.scope == "share":
            return self.key.rpartition(":")[2]
        named = self.key.partition(":")[2]
        return named.rpartition(":")[0] if self.scope == "user_day" else named

    @property
    def spent(self) -> bool:
        """Whether nothing is left of it, whatever a call would take."""
        tokens = self.limit_tokens is not None and self.spent_tokens >= self.limit_tokens
        return tokens or (self.limit_usd is not None and self.spent_usd >= self.limit_usd)

    @property
    def day(self) -> str:
        """The day of a user's budget, YYYY-MM-DD."""
        return self.key.split(":")[1] if self.scope == "share" else self.key.rpartition(":")[2]

    @property
    def provider(self) -> str:
        """The provider whose key is shared."""
        return self.key.split(":")[2]


class Reservation(Model):
    """What the call under way of one execution of a step has set aside of one budget."""

    execution_id = CharField(max_length=IDENTIFIER)
    key = CharField(max_length=LONGEST_KEY)
    usd = known_dollars()
    tokens = BigIntegerField()

    class Meta:
        table_name = "reservations"
        primary_key = CompositeKey("execution_id", "key")


def parted(form: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The limits a request for a run asks for, or else those of the settings; and the rest."""
    rest = {name: value for name, value in form.items() if name not in _UNLIMITED}
    return limits_of({**usual(), **form}), rest


def inherited(source: Run, form: Mapping[str, Any]) -> dict[str, Any]:
    """The limits of a run that goes on from another: those asked for, or else that one's."""
    budget = of_run(source)
    kept = {name: getattr(budget, name) for name in _UNLIMITED} if budget else usual()
    return limits_of({**kept, **form})


def usual() -> dict[str, Any]:
    """The limits of a run where nobody says otherwise."""
    told = settings()
    return {"limit_usd": told.run_budget_usd, "limit_tokens": told.run_budget_tokens}


def limits_of(form: Mapping[str, Any]) -> dict[str, Any]:
    """The limits that a request sets."""
    return {name: form[name] for name in _UNLIMITED if form.get(name) is not None}


def limit(run: Run, limits: Mapping[str, Any]) -> None:
    """Set or take away (None) the limits of a run: `limit_usd`, `limit_tokens`.

    The caller holds the run's lock. What is not named stays as it is. A run without a budget so
    far starts with what its calls, and those of all runs below it, have cost.
    """
    if not limits:
        return
    _limit(_SPENT_BY_RUNS, {"key": run_key(run.id), "run": run.id}, limits)
    if not run.budgeted:
        run.put(budgeted=True)


def limit_swarm(swarm_id: str, limits: Mapping[str, Any]) -> None:
    """Set or take away (None) the limits of all executors of a swarm together.

    A swarm without a budget so far starts with what its executors' calls have cost.
    """
    if limits:
        whose = {"key": swarm_key(swarm_id), "run": None, "swarm": swarm_id}
        _limit(_SPENT_BY_SWARM, whose, limits)


def limit_day(user_id: str, limits: Mapping[str, Any]) -> None:
    """Set or take away (None) the limits of a user's present day, UTC."""
    begin_day(user_id)
    if limits:
        text = f"{Budget.updating(places(limits))} WHERE key = %s"
        db.execute_sql(text, [*stored(limits).values(), day_key(user_id)])


def begin_day(user_id: str) -> None:
    """Make the budget of the user's present day; it starts with what the day's calls have cost."""
    db.later(_BEGIN_DAY, {"user": user_id} | stored(daily()))


def count_in(keys: Sequence[str]) -> None:
    """Have the rest of this transaction counted by every budget of `keys`, even one just begun.

    Whoever gives something its first limit sums up what was spent on it. A transaction that pays
    for it without having its lock must be over before, or find the new budget: see `_limit`.
    """
    if keys:
        db.later(_TOGETHER, (list(keys),))


def of_run(run: Run) -> Budget | None:
    """The run's own budget; None when it never had a limit."""
    return _read(run_key(run.id)) if run.budgeted else None


def of_swarms(*swarm_ids: str) -> dict[str, Budget]:
    """The budgets of these swarms by the swarm's id; none where there never was a limit."""
    keys = [swarm_key(swarm_id) for swarm_id in swarm_ids]
    found = Budget.read("SELECT * FROM budgets WHERE key = ANY(%s)", keys)
    return {budget.holder: budget for budget in found}


def of_day(user_id: str) -> Budget:
    """The user's budget of today as it stands, or as the first call will find it."""
    key = day_key(user_id)
    return _read(key) or Budget(key=key, **daily())


def daily() -> dict[str, Any]:
    """What a user may spend a day where nobody said otherwise."""
    told = settings()
    return {
        "limit_usd": told.user_daily_budget_usd,
        "limit_tokens": told.user_daily_budget_tokens,
    }


def has_days() -> bool:
    """Whether users have a budget for each day."""
    return any(limit is not None for limit in daily().values())


def run_key(run_id: str) -> str:
    """The key of a run's budget."""
    return f"run:{run_id}"


def swarm_key(swarm_id: str) -> str:
    """The key of a swarm's budget."""
    return f"swarm:{swarm_id}"


def day_key(user_id: str) -> str:
    """The key of a user's present day."""
    return str(db.execute_sql(f"SELECT {DAY_KEY}", {"user": user_id}).fetchone()[0])


def exact(usd: Decimal | float) -> Decimal:
    """Dollars rounded up to what the columns resolve."""
    return Decimal(str(usd)).quantize(FINEST, ROUND_CEILING)


def stored(limits: Mapping[str, Any]) -> dict[str, Any]:
    """Limits as the columns take them."""
    usd = limits.get("limit_usd")
    return dict(limits) if usd is None else {**limits, "limit_usd": exact(usd)}


def _limit(spent_by: str, whose: Mapping[str, str | None], limits: Mapping[str, Any]) -> None:
    """Set limits, after whoever pays just now; a new budget starts with what was spent so far."""
    changed = ", ".join(f"{name} = excluded.{name}" for name in sorted(limits))
    db.later(_ALONE, (whose["key"],))
    told = {**whose, **_UNLIMITED, **stored(limits)}
    db.later(f"{_LIMIT} {spent_by} {_OR_CHANGE} {changed}", told)


def _read(key: str) -> Budget | None:
    return next(iter(Budget.read("SELECT * FROM budgets WHERE key = %s", key)), None)


_UNLIMITED = {"limit_usd": None, "limit_tokens": None}
# Many may hold the first lock on a key at once, but nobody while somebody holds the second. They
# are taken in statements of their own: what follows the wait sees what was written meanwhile.
_TOGETHER = """
    SELECT pg_advisory_xact_lock_shared(hashtextextended(key, 0)) FROM unnest(%s::text[]) AS key
"""
_ALONE = "SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))"
_LIMIT = """
    INSERT INTO budgets (key, run_id, limit_usd, limit_tokens,
        spent_usd, spent_tokens, spent_calls, reserved_usd, reserved_tokens, reserved_calls)
    SELECT %(key)s::text, %(run)s::text, %(limit_usd)s::numeric, %(limit_tokens)s::bigint,
        coalesce(sum(cost_total), 0), coalesce(sum(total_tokens), 0), count(*), 0, 0, 0
    FROM llm_calls WHERE run_id IN
"""
_SPENT_BY_RUNS = """(
    SELECT %(run)s::text UNION ALL
    SELECT id FROM runs WHERE parent_id IS NOT NULL AND payers ? %(run)s::text)
"""
_SPENT_BY_SWARM = "(SELECT run_id FROM swarm_tasks WHERE swarm_id = %(swarm)s)"
_OR_CHANGE = "ON CONFLICT (key) DO UPDATE SET"
_BEGIN_DAY = f"""
    INSERT INTO budgets (key, run_id, limit_usd, limit_tokens,
        spent_usd, spent_tokens, spent_calls, reserved_usd, reserved_tokens, reserved_calls)
    SELECT {DAY_KEY}, NULL, %(limit_usd)s::numeric, %(limit_tokens)s::bigint,
        coalesce(sum(cost_total), 0), coalesce(sum(total_tokens), 0), count(*), 0, 0, 0
    FROM llm_calls WHERE owner_id = %(user)s
        AND created_at >= extract(epoch FROM {DAY} AT TIME ZONE 'UTC') * 1000
    HAVING NOT EXISTS (SELECT 1 FROM budgets WHERE key = {DAY_KEY})
    ON CONFLICT (key) DO NOTHING
"""  # noqa: S608
