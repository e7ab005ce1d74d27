"""Whose budgets a call has to keep to, and what limits count from."""

from __future__ import annotations

import importlib
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from models import base, budgets, config, runs, spending
from models.budgets import Budget, Reservation
from models.llm_calls import LlmCall
from models.runs import Run
from models.spending import Amount, Granted, Reached
from tasks import runs as commands
from tests.models.spenders import BEN, budget, held, new_run, reserve, settle


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


def test_a_run_pays_for_all_that_it_brings_about_however_far_below(database: str) -> None:
    first = new_run(limits={"limit_usd": 1.0})
    second = new_run(parent_id=first.id)
    third = new_run(parent_id=second.id)
    fourth = new_run(parent_id=third.id, limits={"limit_usd": 5.0})
    commands.delete(third.id, force=True)  # what it has asked for is no less the first one's

    reserve(second, "exec_2", "0.30")
    settle(second, "exec_2", "0.30")
    assert reserve(fourth, "exec_4", "0.60") == Granted()
    settle(fourth, "exec_4", "0.60")
    refused = reserve(fourth, "exec_4", "0.60")

    assert isinstance(refused, Reached)
    assert refused.budget.key == f"run:{first.id}"
    assert refused.left_usd == Decimal("0.1")
    assert (budget(first).spent_usd, budget(first).reserved_usd) == (Decimal("0.9"), 0)
    assert budget(fourth).spent_usd == Decimal("0.6")


def test_a_limit_set_late_starts_with_what_has_been_spent(database: str) -> None:
    run = new_run()
    child = new_run(parent_id=run.id)
    grandchild = new_run(parent_id=child.id)
    for spender, cost in ((run, "0.30"), (child, "0.15"), (grandchild, "0.05"), (new_run(), "9")):
        call_of(spender, cost).add()

    with held(run) as locked:
        budgets.limit(locked, {"limit_usd": 1.0})

    assert (budget(run).spent_usd, budget(run).spent_tokens) == (Decimal("0.5"), 30)
    assert isinstance(reserve(Run.get_by_id(run.id), "exec_1", "0.51"), Reached)


def call_of(run: Run, cost: str) -> LlmCall:
    """What is written of a call of ten tokens."""
    call = {"agent_id": "yukihiro", "provider": "openai", "model": "gpt-4o"}
    return LlmCall(run_id=run.id, cost_total=Decimal(cost), total_tokens=10, **call)


@pytest.mark.parametrize("limit_comes_first", [True, False])
def test_a_first_limit_misses_no_call_that_is_paid_just_then(
    database: str, limit_comes_first: bool
) -> None:
    """Whoever comes second waits until the first one has committed, and then sees it."""
    run = new_run()
    child = new_run(parent_id=run.id)

    def limit() -> None:
        with held(run) as locked:
            budgets.limit(locked, {"limit_usd": 1.0})

    def pay() -> None:
        with held(child) as locked:
            call_of(child, "0.40").add()
            spending.settle(locked, "exec_1", Amount(Decimal("0.40"), 10))

    first, second = (limit, pay) if limit_comes_first else (pay, limit)
    with base.db.atomic():
        first()
        base.db.execute_sql("SELECT 1")  # it is done, and nobody else may see it yet
        other = threading.Thread(target=elsewhere, args=(second,))
        other.start()
        other.join(0.3)
        came_after = other.is_alive()
    other.join()

    assert came_after
    assert (budget(run).spent_usd, budget(run).spent_tokens) == (Decimal("0.4"), 10)


def elsewhere(work: Callable[[], None]) -> None:
    with base.db.connection_context():
        work()


def test_a_migration_finds_all_who_pay_for_the_runs_there_are(database: str) -> None:
    first = new_run()
    second = new_run(parent_id=first.id)
    third = new_run(parent_id=second.id)
    orphan = new_run(parent_id="run_gone")
    family = (first, second, third, orphan)
    known = [run.payers for run in family]
    Run.update(payers=[]).execute()

    base.db.execute_sql(importlib.import_module("models.migrations.0029_payers").FILLED)

    assert [Run.get_by_id(run.id).payers for run in family] == known
    assert known == [[], [first.id], [second.id, first.id], ["run_gone"]]


def test_so_many_runs_may_ask_for_one_another_in_a_row(database: str) -> None:
    run = new_run()
    for _ in range(runs.MOST_PAYERS):
        assert not run.deep
        run = new_run(parent_id=run.id)

    assert run.deep
    assert len(run.payers) == runs.MOST_PAYERS


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


def test_settings_name_every_budget_that_is_none() -> None:
    told = {
        "RUN_BUDGET_USD": "-1",
        "RUN_BUDGET_TOKENS": "1.5",
        "USER_DAILY_BUDGET_USD": "NaN",
        "USER_DAILY_BUDGET_TOKENS": "0",
    }

    with pytest.raises(config.Misconfigured) as refused:
        config.Settings.read(told)

    faults = str(refused.value).split("; ")
    assert [fault.split()[0] for fault in faults] == list(told)
    assert faults[0] == (
        "RUN_BUDGET_USD must be an amount of US dollars above 0, at most 1000000, or not set at all"
    )
    assert config.Settings.read({"RUN_BUDGET_USD": "0.5"}).run_budget_usd == Decimal("0.5")
