"""Budgets as a state machine: whatever calls do and limits become, the sums are right.

Checked against plain arithmetic. Four runs: one, a run it asked for, an executor of that one, and
another of the same user, who has a budget for the day.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from copy import deepcopy
from decimal import Decimal
from functools import partial
from itertools import permutations
from types import NoneType
from typing import Any, ClassVar, NamedTuple

import pytest
from hypothesis import HealthCheck, settings, strategies
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from models import budgets, config, spending
from models.budgets import Budget, Reservation
from models.insisting import insist
from models.runs import Run
from models.spending import Amount, Busy, Granted, Reached
from tests.models.spenders import held, new_run
from tests.properties.crowds import at_once

FIGURES = strategies.integers(0, 60)
LIMITS = strategies.one_of(strategies.none(), strategies.integers(0, 150))
Cents = int


class Act(NamedTuple):
    """What a call does, and the figures of it."""

    does: str
    call: int
    cents: Cents
    tokens: int
    honest: bool


ACTS = strategies.builds(
    Act,
    strategies.sampled_from(("reserve", "reserve", "settle", "lose")),
    strategies.integers(0, 7),
    *(FIGURES, FIGURES),
    strategies.booleans(),
)


@pytest.fixture
def day_of_a_hundred(settings: config.Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A user may spend a hundred cents and a hundred tokens a day."""
    monkeypatch.setenv("USER_DAILY_BUDGET_USD", "1.00")
    monkeypatch.setenv("USER_DAILY_BUDGET_TOKENS", "100")
    config.settings.cache_clear()
    yield
    monkeypatch.undo()
    config.settings.cache_clear()


class Spending(RuleBasedStateMachine):
    """Eight calls, two for each run; the figures are cents and tokens."""

    answers: ClassVar[set[type]] = set()  # in whatever example

    def __init__(self) -> None:
        super().__init__()
        Budget.delete().execute()
        Reservation.delete().execute()
        one = new_run()
        two = new_run(parent_id=one.id)
        self.runs = [one, two, new_run(parent_id=two.id), new_run()]
        self.day = budgets.day_key("usr_anna")
        self.limits: dict[str, tuple[Cents | None, int | None]] = {self.day: (100, 100)}
        self.spent: dict[str, tuple[Cents, int]] = defaultdict(lambda: (0, 0))
        self.open: dict[int, tuple[list[str], Cents, int]] = {}

    @rule(act=ACTS)
    def one(self, act: Act) -> None:
        answer = self._do(act)
        assert type(answer) is self._reckon(act)
        self.answers.add(type(answer))
        if isinstance(answer, Reached):
            self._make_do(act.call, answer)

    @rule(acts=strategies.lists(ACTS, min_size=2, max_size=5, unique_by=lambda act: act.call))
    def many(self, acts: Sequence[Act]) -> None:
        """Whatever calls do at the same moment, it is as if one had come after the other."""
        insisting = [partial(insist, partial(self._do, act)) for act in acts]
        answers = dict(zip(acts, at_once(*insisting), strict=True))
        before = self.spent, self.open
        for order in permutations(acts):
            self.spent, self.open = deepcopy(before)
            if all(self._reckon(act) is type(answers[act]) for act in order):
                return
        raise AssertionError(f"in no order are these the answers: {answers}")

    @rule()
    def sweep(self) -> None:
        """No step of theirs is at work, so whatever is open counts."""
        spending.lose_abandoned()
        for call in list(self.open):
            self._forget(call)

    @rule(which=strategies.integers(0, 3), cents=LIMITS, tokens=LIMITS)
    def limit(self, which: int, cents: int | None, tokens: int | None) -> None:
        with held(self.runs[which]) as run:
            budgets.limit(run, {"limit_usd": _dollars(cents), "limit_tokens": tokens})
        self.limits[budgets.run_key(self.runs[which].id)] = cents, tokens

    @rule(cents=LIMITS)
    def limit_day(self, cents: int | None) -> None:
        with held(self.runs[0]):
            budgets.limit_day("usr_anna", {"limit_usd": _dollars(cents)})
        self.limits[self.day] = cents, self.limits[self.day][1]

    @invariant()
    def the_sums_are_right(self) -> None:
        for row in Budget.select():
            cents, tokens = self.spent[row.key]
            assert (row.spent_usd * 100, row.spent_tokens) == (cents, tokens)
            assert (row.reserved_usd * 100, row.reserved_tokens) == self._reserved(row.key)

    def _do(self, act: Act) -> Any:
        amount, execution = _amount(*self._really(act)), f"exec_{act.call}"
        with held(self._run(act.call)) as run:
            if act.does == "reserve":
                return spending.reserve(run, execution, amount)
            if act.does == "lose":
                return spending.lose(execution)
            return spending.settle(run, execution, amount)

    def _reckon(self, act: Act) -> type:
        """What plain arithmetic answers, after which it has counted the act."""
        cents, tokens = self._really(act)
        keys = self.open[act.call][0] if act.call in self.open else []
        if act.does == "settle":
            self.open.pop(act.call, None)
            for key in {*keys, *self._run_keys(act.call)}:
                self._charge(key, cents, tokens)
            return NoneType
        self._forget(act.call)
        if act.does == "lose":
            return NoneType
        expected = self._judged(self._keys(act.call), (cents, tokens))
        if expected is Granted:
            self.open[act.call] = self._keys(act.call), cents, tokens
        return expected

    def _really(self, act: Act) -> tuple[Cents, int]:
        """An honest call takes no more than was set aside for it."""
        if act.does != "settle" or not act.honest or act.call not in self.open:
            return act.cents, act.tokens
        _, cents, tokens = self.open[act.call]
        return min(act.cents, cents), min(act.tokens, tokens)

    def _make_do(self, call: int, reached: Reached) -> None:
        """What is said to be left is what fits once the others are done, and not a bit more."""
        with held(self._run(call)) as run:
            left = Amount(reached.left_usd or Decimal(0), reached.left_tokens or 0)
            answer = spending.reserve(run, f"exec_{call}", left)
            spending.settle(run, f"exec_{call}", spending.NOTHING)
        over = any(self._over(key) for key in self._keys(call))
        assert over or isinstance(answer, Granted | Busy)

    def _judged(self, keys: list[str], amount: tuple[int, int]) -> type:
        if all(self._fits(key, amount, self._reserved(key)) for key in keys):
            return Granted
        return Busy if all(self._fits(key, amount, (0, 0)) for key in keys) else Reached

    def _fits(self, key: str, amount: tuple[int, int], reserved: tuple[int, int]) -> bool:
        figures = zip(self.limits[key], self.spent[key], reserved, amount, strict=True)
        return all(limit is None or sum(used) <= limit for limit, *used in figures)

    def _over(self, key: str) -> bool:
        return not self._fits(key, (0, 0), (0, 0))

    def _reserved(self, key: str) -> tuple[int, int]:
        mine = [(cents, tokens) for keys, cents, tokens in self.open.values() if key in keys]
        return sum(cents for cents, _ in mine), sum(tokens for _, tokens in mine)

    def _run(self, call: int) -> Run:
        return self.runs[call % 4]

    def _keys(self, call: int) -> list[str]:
        return [*self._run_keys(call), self.day]

    def _run_keys(self, call: int) -> list[str]:
        line = self.runs[: call % 4 + 1] if call % 4 < 3 else self.runs[3:]
        mine = [budgets.run_key(run.id) for run in line]
        return [key for key in mine if key in self.limits]

    def _forget(self, call: int) -> None:
        keys, cents, tokens = self.open.pop(call, ([], 0, 0))
        for key in keys:
            self._charge(key, cents, tokens)

    def _charge(self, key: str, cents: int, tokens: int) -> None:
        before = self.spent[key]
        self.spent[key] = before[0] + cents, before[1] + tokens


def _amount(cents: int, tokens: int) -> Amount:
    return Amount(Decimal(cents) / 100, tokens)


def _dollars(cents: int | None) -> float | None:
    return None if cents is None else cents / 100


def test_whatever_calls_do_the_sums_of_budgets_are_right(
    database: str, day_of_a_hundred: None
) -> None:
    run_state_machine_as_test(
        Spending,
        settings=settings(
            max_examples=30,
            stateful_step_count=25,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
    assert Granted in Spending.answers
