"""What calls set aside and pay, and that no crowd of them gets past a limit."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from models import base, budgets, spending
from models.budgets import Reservation
from models.spending import Amount, Busy, Granted, Reached
from tests.models.spenders import budget, new_run, reserve, settle

CONNECTIONS = threading.Semaphore(16)  # of the pool's twenty


def test_a_run_without_limits_asks_the_database_nothing(database: str) -> None:
    run = new_run()
    base.db.close_all()

    assert spending.reserve(run, "exec_1", Amount(Decimal(1000), 10**9)) == Granted()
    spending.settle(run, "exec_1", Amount(Decimal(1000), 10**9))
    assert budgets.of_run(run) is None

    assert base.db.is_closed()


def test_a_call_sets_its_worst_case_aside_and_pays_what_it_took(database: str) -> None:
    run = new_run(limits={"limit_usd": 1.0, "limit_tokens": 1000})

    assert reserve(run, "exec_1", "0.40", 400) == Granted()
    during = budget(run)
    settle(run, "exec_1", "0.123456789", 90)
    after = budget(run)

    assert (during.reserved_usd, during.reserved_tokens) == (Decimal("0.4"), 400)
    assert (during.spent_usd, during.spent_tokens) == (0, 0)
    assert (after.reserved_usd, after.reserved_tokens) == (0, 0)
    assert (after.spent_usd, after.spent_tokens) == (Decimal("0.12345679"), 90)
    assert Reservation.select().count() == 0


def test_a_limit_is_reached_exactly_and_says_what_is_left(database: str) -> None:
    run = new_run(limits={"limit_usd": 1.0})
    reserve(run, "exec_1", "0.75")
    settle(run, "exec_1", "0.75")

    refused = reserve(run, "exec_1", "0.25000001", 7)
    assert isinstance(refused, Reached)
    assert refused.budget.key == f"run:{run.id}"
    assert refused.budget.scope == "run"
    assert refused.needs == Amount(Decimal("0.25000001"), 7)
    assert (refused.left_usd, refused.left_tokens) == (Decimal("0.25"), None)
    assert Reservation.select().count() == 0

    assert reserve(run, "exec_1", "0.25") == Granted()


def test_tokens_are_limited_as_dollars_are(database: str) -> None:
    run = new_run(limits={"limit_tokens": 100})

    refused = reserve(run, "exec_1", None, 101)

    assert isinstance(refused, Reached)
    assert (refused.left_usd, refused.left_tokens) == (None, 100)
    assert reserve(run, "exec_1", None, 100) == Granted()


def test_a_call_of_unknown_price_fits_no_limit_in_dollars(database: str) -> None:
    run = new_run(limits={"limit_usd": 1.0})

    assert isinstance(reserve(run, "exec_1", None, 1), Reached)


def test_an_answer_that_nobody_can_price_after_all_pays_its_worst_case(database: str) -> None:
    run = new_run(limits={"limit_usd": 1.0, "limit_tokens": 100})
    reserve(run, "exec_1", "0.40", 40)

    settle(run, "exec_1", None, 4)

    assert (budget(run).spent_usd, budget(run).spent_tokens) == (Decimal("0.4"), 4)


def test_a_guess_pays_its_worst_case_unless_it_is_more(database: str) -> None:
    run = new_run(limits={"limit_usd": 1.0, "limit_tokens": 100})
    reserve(run, "exec_1", "0.40", 40)

    settle(run, "exec_1", "0.10", 50, guessed=True)
    settle(run, "exec_2", "0.05", 5, guessed=True)  # nothing was set aside for it

    assert (budget(run).spent_usd, budget(run).spent_tokens) == (Decimal("0.45"), 55)
    assert (budget(run).reserved_usd, budget(run).reserved_tokens) == (0, 0)


def test_who_only_stands_in_the_way_of_others_makes_them_wait(database: str) -> None:
    run = new_run(limits={"limit_usd": 1.0})
    reserve(run, "exec_1", "0.80")

    assert reserve(run, "exec_2", "0.80") == Busy()
    assert isinstance(reserve(run, "exec_2", "1.01"), Reached)

    settle(run, "exec_1", "0.10")
    assert reserve(run, "exec_2", "0.80") == Granted()


def test_a_lost_call_counts_as_dear_as_it_could_become(database: str) -> None:
    run = new_run(limits={"limit_usd": 1.0, "limit_tokens": 100})
    reserve(run, "exec_1", "0.60", 60)

    refused = reserve(run, "exec_1", "0.60", 60)  # its next worker asks again

    assert isinstance(refused, Reached)
    assert (budget(run).spent_usd, budget(run).spent_tokens) == (Decimal("0.6"), 60)
    assert (budget(run).reserved_usd, budget(run).reserved_tokens) == (0, 0)


def test_calls_of_steps_nobody_works_on_are_counted_and_let_go(database: str) -> None:
    run = new_run(limits={"limit_usd": 1.0})
    other = new_run(limits={"limit_tokens": 9})
    reserve(run, "exec_gone", "0.10", 3)
    reserve(run, "exec_gone_too", "0.20", 4)
    reserve(other, "exec_other", "0.30", 5)

    assert spending.lose_abandoned() == 2
    assert spending.lose_abandoned() == 0

    assert (budget(run).spent_usd, budget(run).reserved_usd) == (Decimal("0.3"), 0)
    assert (budget(other).spent_tokens, budget(other).reserved_tokens) == (5, 0)
    assert Reservation.select().count() == 0


def test_two_hundred_calls_at_once_never_spend_more_than_the_limit(
    database: str, daily: None
) -> None:
    """Of eight runs of one user, who has 1.00 USD a day; each call may cost 0.03."""
    runs = [new_run(limits={"limit_usd": 0.5}) for _ in range(8)]
    dice = random.Random(7)
    costs = [Decimal(dice.randint(0, 300)) / 10_000 for _ in range(200)]
    came: list[type] = []  # threads may append, but not add one to what they have read
    paid: list[Decimal] = []

    def call(number: int) -> None:
        run, execution, cost = runs[number % 8], f"exec_{number}", costs[number]
        while isinstance(answer := with_connection(reserve, run, execution, "0.03", 3), Busy):
            came.append(Busy)
            time.sleep(0.01)
        came.append(type(answer))
        if isinstance(answer, Granted):
            time.sleep(float(cost))
            with_connection(settle, run, execution, str(cost), 3)
            paid.append(cost)

    crowd = [threading.Thread(target=call, args=(number,)) for number in range(200)]
    for thread in crowd:
        thread.start()
    for thread in crowd:
        thread.join()

    day, outcomes = budgets.of_day("usr_anna"), Counter(came)
    assert outcomes[Granted] + outcomes[Reached] == 200
    assert outcomes[Busy] and outcomes[Reached]
    assert Decimal("0.97") < day.spent_usd <= 1
    assert day.spent_usd == sum(paid) == sum(budget(run).spent_usd for run in runs)
    assert day.reserved_usd == day.reserved_tokens == 0
    assert Reservation.select().count() == 0


def with_connection(work: Callable[..., Any], *args: Any) -> Any:
    """What `work` gives, from a thread that keeps no connection of the pool.

    Who waits for one in vain would never pay, and what it has set aside stays so for all others.
    """
    with CONNECTIONS, base.db.connection_context():
        return work(*args)
