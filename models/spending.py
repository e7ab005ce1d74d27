"""Spending within budgets: a call sets its worst case aside before it is made, and settles after.

Everything here runs in the transaction that holds the run's row lock. A run without any limit
costs no statement. A reservation belongs to the execution of a step, which asks one model at a
time; whatever ends that execution before its call was settled, the call counts as dear as it
could become, because nobody knows what it took.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from models import budgets, shares
from models.base import db
from models.budgets import Budget
from models.runs import Run


@dataclass(frozen=True)
class Amount:
    """US dollars (None: no price is known), tokens, and how many calls they are for.

    What is `guessed` may have been more.
    """

    usd: Decimal | None
    tokens: int
    calls: int = 1
    guessed: bool = False


@dataclass(frozen=True)
class Shared:
    """A person's use of the server's key of a provider, which has limits of its own."""

    user_id: str
    provider_id: str


@dataclass(frozen=True)
class Granted:
    """The call may be made."""


@dataclass(frozen=True)
class Busy:
    """Only other calls under way stand in the call's way: ask again when one has ended."""


@dataclass(frozen=True)
class Reached:
    """The call may not be made: it `needs` more than `budget` has left.

    A smaller call may take `left_usd` and `left_tokens` at most (None: as much as it likes).
    """

    budget: Budget
    needs: Amount
    left_usd: Decimal | None
    left_tokens: int | None


NOTHING = Amount(Decimal(0), 0, 0)


def limited(run: Run, shared: Shared | None = None) -> bool:
    """Whether the run's calls have to keep to any budget."""
    return bool(shared or _run_keys(run) or _has_days(run))


def reserve(
    run: Run, execution_id: str, amount: Amount, shared: Shared | None = None
) -> Granted | Busy | Reached:
    """Set `amount` aside in every budget the run has to keep to, or in none of them."""
    if not limited(run, shared):
        return Granted()
    keys, user = _run_keys(run), run.owner_id if _has_days(run) else None
    if user is not None:
        budgets.begin_day(user)
    lent: dict[str, str | None] = {"sharer": None, "provider": None}
    if shared is not None:
        lent = {"sharer": shared.user_id, "provider": shared.provider_id}
        shares.begin_day(shared.user_id, shared.provider_id)
    lose(execution_id)
    usd = None if amount.usd is None else budgets.exact(amount.usd)
    asked = {"usd": usd, "tokens": amount.tokens, "execution": execution_id}
    rows = db.execute_sql(_RESERVE, {**asked, **lent, "keys": keys, "user": user}).fetchall()
    if all(fits for *_, fits, _ in rows):
        return Granted()
    if all(possible for *_, possible in rows):
        return Busy()
    found = [(Budget(**dict(zip(_COLUMNS, row, strict=False))), row[-1]) for row in rows]
    refusing = next(budget for budget, possible in found if not possible)
    left = [_left([budget for budget, _ in found], unit) for unit in ("usd", "tokens")]
    return Reached(refusing, amount, *left)


def settle(run: Run, execution_id: str, spent: Amount, shared: Shared | None = None) -> None:
    """Free what the execution's call has set aside and count what it really took.

    Where nobody knows its price after all, what was set aside is counted; where it is guessed,
    whatever is more.
    """
    keys = _run_keys(run)
    budgets.count_in([key for key in keys if key != budgets.run_key(run.id)])
    if keys or shared or _has_days(run):
        usd = None if spent.usd is None else budgets.exact(spent.usd)
        values = {"execution": execution_id, "keys": keys, "usd": usd, "tokens": spent.tokens}
        db.later(_SETTLE, {**values, "calls": spent.calls, "guessed": spent.guessed})


def lose(execution_id: str) -> None:
    """Count what the execution's call has set aside as spent."""
    db.later(_SETTLE, {"execution": execution_id, **_WORST})


def lose_abandoned() -> int:
    """Count the calls of steps nobody works on any more as spent; gives how many budgets paid."""
    return int(db.execute_sql(_LOSE_ABANDONED, _WORST).rowcount)


def _run_keys(run: Run) -> list[str]:
    keys = [budgets.run_key(run.id)] if run.budgeted else []
    keys += [budgets.run_key(payer_id) for payer_id in run.payers]
    swarm_id = run.meta.get("swarm_id")
    return keys + ([budgets.swarm_key(swarm_id)] if swarm_id else [])


def _has_days(run: Run) -> bool:
    return run.owner_id is not None and budgets.has_days()


def _left(found: Sequence[Budget], unit: str) -> Any:
    """What is left in the budget that has the least of `unit`; None when none limits it."""
    limits = [(getattr(row, f"limit_{unit}"), getattr(row, f"spent_{unit}")) for row in found]
    return min(
        (max(limit - spent, 0) for limit, spent in limits if limit is not None), default=None
    )


_WORST: dict[str, Any] = {
    "keys": [],
    "usd": None,
    "tokens": None,
    "calls": None,
    "guessed": False,
}
_COLUMNS = tuple(field.column_name for field in Budget._meta.sorted_fields)

# An unknown price fits no limit in dollars. Rows are locked one after the other, so that what is
# judged is what they are by then, and two calls that share several never wait for each other.
_RESERVE = f"""
    WITH asked AS MATERIALIZED (
        SELECT {", ".join(_COLUMNS)} FROM budgets
        WHERE key = ANY(%(keys)s::text[]) OR key = {budgets.DAY_KEY}
            OR key = {budgets.SHARE_KEY}
        ORDER BY key FOR NO KEY UPDATE
    ), judged AS (
        SELECT *,
            coalesce(%(usd)s::numeric <= limit_usd - spent_usd - reserved_usd, limit_usd IS NULL)
            AND coalesce(%(tokens)s <= limit_tokens - spent_tokens - reserved_tokens, true)
            AND coalesce(spent_calls + reserved_calls < limit_calls, true)
            AS fits,
            coalesce(%(usd)s::numeric <= limit_usd - spent_usd, limit_usd IS NULL)
            AND coalesce(%(tokens)s <= limit_tokens - spent_tokens, true)
            AND coalesce(spent_calls < limit_calls, true)
            AS possible
        FROM asked
    ), granted AS (
        SELECT key FROM asked WHERE (SELECT bool_and(fits) FROM judged)
    ), taken AS (
        UPDATE budgets SET reserved_usd = reserved_usd + coalesce(%(usd)s::numeric, 0),
            reserved_tokens = reserved_tokens + %(tokens)s,
            reserved_calls = reserved_calls + 1
        FROM granted WHERE budgets.key = granted.key
    ), written AS (
        INSERT INTO reservations (execution_id, key, usd, tokens)
        SELECT %(execution)s, key, coalesce(%(usd)s::numeric, 0), %(tokens)s FROM granted
    )
    SELECT * FROM judged ORDER BY key
"""  # noqa: S608
_PAY = """
    charged AS MATERIALIZED (
        SELECT key FROM budgets WHERE key = ANY(%(keys)s::text[]) OR key IN (SELECT key FROM freed)
        ORDER BY key FOR NO KEY UPDATE
    )
    UPDATE budgets SET
        reserved_usd = reserved_usd - coalesce(freed.usd, 0),
        reserved_tokens = reserved_tokens - coalesce(freed.tokens, 0),
        reserved_calls = reserved_calls - coalesce(freed.calls, 0),
        spent_usd = spent_usd + coalesce(
            greatest(%(usd)s::numeric, CASE WHEN %(guessed)s::boolean THEN freed.usd END),
            freed.usd, 0),
        spent_tokens = spent_tokens + coalesce(
            greatest(%(tokens)s::bigint, CASE WHEN %(guessed)s::boolean THEN freed.tokens END),
            freed.tokens, 0),
        spent_calls = spent_calls + coalesce(%(calls)s::bigint, freed.calls, 0)
    FROM charged LEFT JOIN freed ON freed.key = charged.key WHERE budgets.key = charged.key
"""
_SETTLE = f"""
    WITH freed AS (
        DELETE FROM reservations WHERE execution_id = %(execution)s
        RETURNING key, usd, tokens, 1 AS calls
    ), {_PAY}
"""  # noqa: S608
_LOSE_ABANDONED = f"""
    WITH lost AS (
        DELETE FROM reservations WHERE NOT EXISTS (
            SELECT 1 FROM steps WHERE steps.id = execution_id AND steps.state = 'running')
        RETURNING key, usd, tokens
    ), freed AS (
        SELECT key, sum(usd) AS usd, sum(tokens)::bigint AS tokens, count(*) AS calls
        FROM lost GROUP BY key
    ), {_PAY}
"""  # noqa: S608
