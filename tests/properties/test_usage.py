"""Usage as a state machine: whatever becomes of calls and runs, tallies say what the calls say."""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings, strategies
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from models import api_usage, spans, tallies
from models.base import db
from models.llm_calls import LlmCall
from models.principals import Principal
from models.runs import Run
from models.spans import SPANS
from models.tallies import FreshCall, Tally
from tasks import forks
from tasks import runs as commands
from tests.models.callers import call
from tests.models.spenders import ANNA, BEN, new_run

OWNERS = ("usr_anna", "usr_ben")
WHO = strategies.sampled_from([*OWNERS, None])
WHICH = strategies.integers(0, 9)
COSTS = strategies.one_of(strategies.none(), strategies.decimals(0, 2, places=8))
TIMES = strategies.sampled_from([0, 3_599_999, 3_600_000, 1_704_067_199_999, 1_704_067_200_000])
Sums = dict[str | None, tuple[int, int, Decimal]]


class Using(RuleBasedStateMachine):
    """Calls of two people and of nobody, in runs that may be forked and deleted."""

    def __init__(self) -> None:
        super().__init__()
        for model in (FreshCall, LlmCall, Tally, Run):
            model.delete().execute()
        self.runs = [new_run(ANNA), new_run(BEN, project_id="proj_1")]
        self.made: list[tuple[str | None, str | None, int, Decimal]] = []

    @rule(which=WHICH, cost=COSTS, at=TIMES, tokens=strategies.integers(1, 9))
    def a_run_calls(self, which: int, cost: Decimal | None, at: int, tokens: int) -> None:
        if self.runs:
            run = self.runs[which % len(self.runs)]
            self._call(cost, at, tokens, run_id=run.id, owner_id=run.owner_id)

    @rule(who=WHO, cost=COSTS, at=TIMES, tokens=strategies.integers(1, 9))
    def a_call_is_made_without_a_run(
        self, who: str | None, cost: Decimal | None, at: int, tokens: int
    ) -> None:
        self._call(cost, at, tokens, run_id=None, owner_id=who)

    @rule(cost=COSTS, at=TIMES)
    def a_call_is_lost_with_its_transaction(self, cost: Decimal | None, at: int) -> None:
        with db.atomic() as lost:
            call(cost and str(cost), at, owner_id=OWNERS[0])
            lost.rollback()

    @rule(which=WHICH)
    def a_run_is_forked(self, which: int) -> None:
        if self.runs:
            source = self.runs[which % len(self.runs)]
            self.runs.append(forks.fork(Principal(source.owner_id or "", "user"), source, {}))

    @rule(which=WHICH)
    def a_run_is_deleted(self, which: int) -> None:
        if self.runs:
            gone = self.runs.pop(which % len(self.runs))
            commands.delete(gone.id, force=True)
            self.made = [each for each in self.made if each[1] != gone.id]

    @rule()
    def the_clock_folds(self) -> None:
        tallies.fold()
        assert FreshCall.select().count() == 0

    @invariant()
    def the_tallies_say_what_the_calls_say(self) -> None:
        assert db.execute_sql(tallies.WRONG).fetchall() == []
        assert LlmCall.select().count() == len(self.made)

    @invariant()
    def everybody_reads_their_own_sums(self) -> None:
        expected: Sums = defaultdict(lambda: (0, 0, Decimal(0)))
        for owner, _, tokens, cost in self.made:
            calls, so_far, spent = expected[owner]
            expected[owner] = calls + 1, so_far + tokens, spent + cost
        for who in OWNERS:
            _, told = api_usage.spent({"user_id": who})
            cost = Decimal(str(told["totalCost"])).quantize(Decimal("1e-8"))
            assert (told["callCount"], told["totalTokens"], cost) == expected[who]

    @invariant()
    def what_is_told_by_state_adds_up_as_well(self) -> None:
        for who in OWNERS:
            _, told = api_usage.spent({"user_id": who, "status": "pending"})
            mine = [each for each in self.made if each[0] == who and each[1] is not None]
            assert told["callCount"] == len(mine)
            assert told["totalTokens"] == sum(tokens for *_, tokens, _ in mine)

    def _call(self, cost: Decimal | None, at: int, tokens: int, **whose: Any) -> None:
        call(None if cost is None else str(cost), at, tokens, **whose)
        self.made.append((whose["owner_id"], whose["run_id"], tokens, cost or Decimal(0)))


@pytest.mark.slow
def test_whatever_becomes_of_calls_usage_adds_up(database: str) -> None:
    run_state_machine_as_test(
        Using,
        settings=settings(
            max_examples=15,
            stateful_step_count=20,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


@given(
    strategies.sampled_from(SPANS),
    strategies.integers(0, spans.LATEST - 1),
    strategies.integers(1, 12 * 3_600_000),
)
def test_spans_cover_a_time_without_gap_or_overlap(span: str, first: int, length: int) -> None:
    starts = list(spans.beginnings(span, first, first + length))
    assert starts[0] <= first and starts == sorted(set(starts))
    last = spans.following(span, datetime.fromtimestamp(starts[-1] // 1000, UTC))
    assert starts[-1] < first + length <= int(last.timestamp()) * 1000
    assert all(spans.beginning(span, each + 1).timestamp() * 1000 == each for each in starts)
