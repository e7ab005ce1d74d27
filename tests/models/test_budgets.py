"""Budgets: what is set aside, what is counted, and that no crowd of calls gets past a limit."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from models import base, budgets, config, spending
from models.accounts import Principal
from models.budgets import Budget, Reservation
from models.llm_calls import LlmCall
from models.pipelines import Pipeline
from models.runs import Run
from models.spending import Amount, Busy, Granted, Reached
from tasks import runs as commands

ANNA = Principal("usr_anna", "user")
BEN = Principal("usr_ben", "user")


def new_run(owner: Principal = ANNA, limits: dict[str, Any] | None = None, **more: Any) -> Run:
    pipeline = Pipeline.get_by_id("planning")
    run = commands.start(owner, pipeline, {"task": "Build a todo app", **more})
    if limits:
        with held(run) as locked:
            budgets.limit(locked, limits)
    return Run.get_by_id(run.id)


class held:
    """The transaction of somebody who holds the run's lock."""

    def __init__(self, run: Run) -> None:
        self.run, self.transaction = run, base.db.atomic()

    def __enter__(self) -> Run:
        self.transaction.__enter__()
        locked = Run.locked(self.run.id)
        assert locked is not None
        return locked

    def __exit__(self, *error: Any) -> None:
        self.transaction.__exit__(*error)


def reserve(run: Run, execution: str, usd: str | None = "0", tokens: int = 0) -> Any:
    with held(run) as locked:
        return spending.reserve(
            locked, execution, Amount(None if usd is None else Decimal(usd), tokens)
        )


def settle(run: Run, execution: str, usd: str | None = "0", tokens: int = 0) -> None:
    with held(run) as locked:
        spent = Amount(None if usd is None else Decimal(usd), tokens)
        spending.settle(locked, execution, spent)


def budget(run: Run) -> Budget:
    found = budgets.of_run(Run.get_by_id(run.id))
    assert found is not None
    return found


@pytest.fixture
def daily(settings: config.Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A user may spend one dollar and a thousand tokens a day."""
    monkeypatch.setenv("USER_DAILY_BUDGET_USD", "1.00")
    monkeypatch.setenv("USER_DAILY_BUDGET_TOKENS", "1000")
    config.settings.cache_clear()
    yield
    monkeypatch.undo()
    config.settings.cache_clear()


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


def test_an_executor_also_charges_the_run_that_asked_for_it(database: str) -> None:
    parent = new_run(limits={"limit_usd": 1.0})
    child = new_run(parent_id=parent.id, limits={"limit_usd": 5.0})

    assert reserve(child, "exec_1", "0.90") == Granted()
    settle(child, "exec_1", "0.90")
    refused = reserve(child, "exec_1", "0.90")

    assert isinstance(refused, Reached)
    assert refused.budget.key == f"run:{parent.id}"
    assert refused.left_usd == Decimal("0.1")
    assert budget(child).spent_usd == budget(parent).spent_usd == Decimal("0.9")
    assert budget(child).reserved_usd == budget(parent).reserved_usd == 0


def test_a_limit_set_late_starts_with_what_has_been_spent(database: str) -> None:
    run = new_run()
    child = new_run(parent_id=run.id)
    for spender, cost in ((run, "0.30"), (child, "0.20"), (new_run(), "9.00")):
        call = {"agent_id": "yukihiro", "provider": "openai", "model": "gpt-4o"}
        LlmCall(run_id=spender.id, cost_total=Decimal(cost), total_tokens=10, **call).add()

    with held(run) as locked:
        budgets.limit(locked, {"limit_usd": 1.0})

    assert (budget(run).spent_usd, budget(run).spent_tokens) == (Decimal("0.5"), 20)
    assert isinstance(reserve(Run.get_by_id(run.id), "exec_1", "0.51"), Reached)


def test_a_call_under_way_when_a_limit_is_set_is_counted_too(database: str) -> None:
    run = new_run()
    reserve(run, "exec_1", "0.40")
    with held(run) as locked:
        budgets.limit(locked, {"limit_usd": 1.0})

    settle(Run.get_by_id(run.id), "exec_1", "0.40")

    assert (budget(run).spent_usd, budget(run).reserved_usd) == (Decimal("0.4"), 0)


def test_raising_one_limit_leaves_the_other_and_what_was_spent(database: str) -> None:
    run = new_run(limits={"limit_usd": 1.0, "limit_tokens": 100})
    reserve(run, "exec_1", "0.5", 50)
    settle(run, "exec_1", "0.5", 50)

    with held(run) as locked:
        budgets.limit(locked, {"limit_usd": 2.5})
    raised = budget(run)
    with held(run) as locked:
        budgets.limit(locked, {"limit_tokens": None})
    freed = budget(run)

    assert (raised.limit_usd, raised.limit_tokens) == (Decimal("2.5"), 100)
    assert (freed.limit_usd, freed.limit_tokens) == (Decimal("2.5"), None)
    assert (freed.spent_usd, freed.spent_tokens) == (Decimal("0.5"), 50)


def test_a_day_is_shared_by_all_runs_of_a_user(database: str, daily: None) -> None:
    one, two, bens = new_run(), new_run(), new_run(BEN)
    reserve(one, "exec_1", "0.70", 1)
    settle(one, "exec_1", "0.70", 1)

    refused = reserve(two, "exec_2", "0.40", 1)

    assert isinstance(refused, Reached)
    assert refused.budget.key == f"user:usr_anna:{datetime.now(UTC).date()}"
    assert refused.budget.scope == "user_day"
    assert reserve(bens, "exec_3", "0.40", 1) == Granted()
    assert isinstance(reserve(two, "exec_2", "0.10", 1000), Reached)


def test_a_day_that_begins_late_starts_with_what_the_day_has_cost(
    database: str, daily: None
) -> None:
    call = {"agent_id": "yukihiro", "provider": "openai", "model": "gpt-4o"}
    yesterday = int(time.time() * 1000) - 25 * 60 * 60 * 1000
    LlmCall(owner_id="usr_anna", cost_total=Decimal("0.9"), total_tokens=1, **call).add()
    LlmCall(owner_id="usr_anna", cost_total=Decimal(7), created_at=yesterday, **call).add()

    assert isinstance(reserve(new_run(), "exec_1", "0.11"), Reached)
    assert reserve(new_run(), "exec_1", "0.10") == Granted()


def test_raising_a_day_lasts_for_the_day(database: str, daily: None) -> None:
    untouched = budgets.of_day("usr_anna")
    budgets.limit_day("usr_anna", {"limit_usd": 3.0})

    assert (untouched.limit_usd, untouched.limit_tokens) == (1, 1000)
    raised = budgets.of_day("usr_anna")
    assert (raised.limit_usd, raised.limit_tokens) == (3, 1000)
    assert reserve(new_run(), "exec_1", "2.5") == Granted()


def test_a_call_that_began_before_midnight_is_paid_by_its_day(database: str, daily: None) -> None:
    run = new_run()
    reserve(run, "exec_1", "0.5", 5)
    yesterdays = "user:usr_anna:2026-01-31"
    Budget.update(key=yesterdays).execute()
    Reservation.update(key=yesterdays).execute()

    settle(run, "exec_1", "0.4", 4)

    assert Budget.get_by_id(yesterdays).spent_usd == Decimal("0.4")
    assert Budget.select().where(Budget.spent_usd > 0).count() == 1


def test_a_deleted_run_takes_its_budget_along(database: str) -> None:
    run = new_run(limits={"limit_usd": 1.0})
    commands.delete(run.id, force=True)

    assert Budget.select().count() == 0


def test_two_hundred_calls_at_once_never_spend_more_than_the_limit(
    database: str, daily: None
) -> None:
    """Of eight runs of one user, who has 1.00 USD a day; each call may cost 0.03."""
    runs = [new_run(limits={"limit_usd": 0.5}) for _ in range(8)]
    dice = random.Random(7)
    costs = [Decimal(dice.randint(0, 300)) / 10_000 for _ in range(200)]
    outcomes: Counter[type] = Counter()
    paid: list[Decimal] = []

    def call(number: int) -> None:
        run, execution, cost = runs[number % 8], f"exec_{number}", costs[number]
        while isinstance(answer := with_connection(reserve, run, execution, "0.03", 3), Busy):
            outcomes[Busy] += 1
            time.sleep(0.01)
        outcomes[type(answer)] += 1
        if isinstance(answer, Granted):
            time.sleep(float(cost))
            with_connection(settle, run, execution, str(cost), 3)
            paid.append(cost)

    crowd = [threading.Thread(target=call, args=(number,)) for number in range(200)]
    for thread in crowd:
        thread.start()
    for thread in crowd:
        thread.join()

    day = budgets.of_day("usr_anna")
    assert outcomes[Granted] + outcomes[Reached] == 200
    assert outcomes[Busy] and outcomes[Reached]
    assert Decimal("0.97") < day.spent_usd <= 1
    assert day.spent_usd == sum(paid) == sum(budget(run).spent_usd for run in runs)
    assert day.reserved_usd == day.reserved_tokens == 0
    assert Reservation.select().count() == 0


def with_connection(work: Callable[..., Any], *args: Any) -> Any:
    """What `work` gives, from a thread that keeps no connection of the pool."""
    with base.db.connection_context():
        return work(*args)
