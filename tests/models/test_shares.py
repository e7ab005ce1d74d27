"""What may be used of the server's keys in a day, however many use it at once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from models import base, budgets, shares, spending
from models.shares import Share
from models.spending import Amount, Busy, Granted, Reached, Shared
from tests.models.spenders import held, new_run

OWNER = Shared("usr_owner", "openai")
TEAMMATE = Shared("usr_teammate", "openai")


def share(**limits: Any) -> Share:
    return Share(provider_id="openai", **limits).add()


def ask(run: Any, execution: str, usd: str = "0.1", who: Shared = OWNER) -> Any:
    with held(run) as locked:
        return spending.reserve(locked, execution, Amount(Decimal(usd), 100), who)


def end(run: Any, execution: str, usd: str = "0.1", calls: int = 1, who: Shared = OWNER) -> None:
    with held(run) as locked:
        spending.settle(locked, execution, Amount(Decimal(usd), 100, calls), who)


def used(who: Shared = OWNER) -> Any:
    return shares.used_today(who.user_id, ["openai"])["openai"]


def in_parallel(*jobs: Callable[[], None]) -> None:
    def connected(job: Callable[[], None]) -> None:
        with base.db.connection_context():
            job()

    threads = [threading.Thread(target=connected, args=(job,)) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_so_many_calls_and_no_more(database: str) -> None:
    share(daily_limit=2)
    run = new_run()

    for number in range(2):
        assert ask(run, f"exec_{number}") == Granted()
    assert ask(run, "exec_2") == Busy()  # who is at work may yet have been refused
    end(run, "exec_0")
    end(run, "exec_1", calls=0, usd="0")
    assert ask(run, "exec_3") == Granted()
    end(run, "exec_3")

    refused = ask(run, "exec_4")
    assert isinstance(refused, Reached)
    assert (refused.budget.scope, refused.budget.holder) == ("share", "usr_owner")
    assert (used().spent_calls, used().reserved_calls) == (2, 0)


def test_fifty_calls_at_once_never_pass_a_limit(database: str) -> None:
    share(daily_limit=7, daily_cost_limit_usd=Decimal(5))
    runs = [new_run() for _ in range(10)]
    answers: list[Any] = []

    def call(number: int) -> None:
        run, execution = runs[number % 10], f"exec_{number}"
        answers.append(answer := ask(run, execution))
        if answer == Granted():
            end(run, execution, usd="0.05")

    in_parallel(*[lambda number=number: call(number) for number in range(50)])

    assert answers.count(Granted()) == 7 == used().spent_calls
    assert (used().reserved_calls, used().reserved_usd) == (0, 0)
    assert used().spent_usd == Decimal("0.35")


def test_fifty_calls_at_once_never_cost_more_than_they_may(database: str) -> None:
    share(daily_cost_limit_usd=Decimal(1))
    runs = [new_run() for _ in range(10)]
    answers: list[Any] = []

    def call(number: int) -> None:
        answers.append(ask(runs[number % 10], f"exec_{number}", usd="0.3"))

    in_parallel(*[lambda number=number: call(number) for number in range(50)])

    assert answers.count(Granted()) == 3
    assert used().reserved_usd == Decimal("0.9")


def test_everybodys_share_limits_each_of_them(database: str) -> None:
    share(daily_limit=1)
    run = new_run()

    assert ask(run, "exec_1") == ask(run, "exec_2", who=TEAMMATE) == Granted()
    end(run, "exec_1")
    assert isinstance(ask(run, "exec_3"), Reached)
    assert used(TEAMMATE).spent_calls == 0


def test_nothing_is_left_of_a_limit_of_nothing_or_of_a_revoked_share(
    database: str,
) -> None:
    run, made = new_run(), share(daily_limit=0)
    assert isinstance(ask(run, "exec_1"), Reached)

    made.put(daily_limit=None)
    assert ask(run, "exec_2") == Granted()
    end(run, "exec_2")

    Share.delete().execute()
    assert isinstance(ask(run, "exec_3"), Reached)


def test_a_limit_that_changes_holds_from_the_next_call_on(database: str) -> None:
    run, everybodys = new_run(), share(daily_limit=1)
    ask(run, "exec_1")
    end(run, "exec_1")
    assert isinstance(ask(run, "exec_2"), Reached)

    share(target_user="usr_owner", daily_limit=2)
    assert ask(run, "exec_3") == Granted()

    everybodys.put(daily_limit=100)
    end(run, "exec_3")
    assert isinstance(ask(run, "exec_4"), Reached)  # the one made for them counts


def test_a_call_that_was_lost_counts(database: str) -> None:
    share(daily_limit=1)
    run = new_run()
    ask(run, "exec_1")
    spending.lose_abandoned()

    assert (used().spent_calls, used().spent_usd) == (1, Decimal("0.1"))
    assert isinstance(ask(run, "exec_2"), Reached)


def test_a_model_of_unknown_price_fits_no_limit_in_dollars(database: str) -> None:
    share(daily_cost_limit_usd=Decimal(100))
    run = new_run()
    with held(run) as locked:
        refused = spending.reserve(locked, "exec_1", Amount(None, 100), OWNER)
    assert isinstance(refused, Reached)


def test_a_run_keeps_to_its_own_budget_as_well(database: str) -> None:
    share(daily_limit=5)
    run = new_run(limits={"limit_usd": Decimal("0.05")})

    assert isinstance(ask(run, "exec_1"), Reached)
    assert used().reserved_calls == 0
    assert budgets.of_run(run).reserved_calls == 0


@pytest.mark.parametrize(("calls", "cost", "said"), [(3, "0", "3 requests"), (0, "1.5", "1.5 US")])
def test_a_share_says_which_of_its_limits_is_reached(calls: int, cost: str, said: str) -> None:
    limited = Share(daily_limit=3, daily_cost_limit_usd=Decimal("1.5"))
    budget = budgets.Budget(spent_calls=calls, spent_usd=Decimal(cost))

    assert said in (shares.exhausted(limited, budget) or "")
    assert shares.exhausted(limited, None) is None
