"""Runs as a state machine: whatever people and workers do, arrows and invariants hold."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from decimal import Decimal
from functools import partial
from typing import Any

import pytest
from hypothesis import HealthCheck, settings, strategies
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from models import base, budgets, events, runs, spending, steps
from models.budgets import Budget
from models.errors import Conflict, NotFound
from models.events import Event
from models.pipelines import Pipeline
from models.principals import Principal
from models.runs import Run
from models.spending import Amount
from models.steps import Step
from tasks import forks
from tasks import runs as commands
from tests.models.spenders import ANNA, BEN, held
from tests.properties.crowds import (
    BEGUN_ANEW,
    Cancels,
    Claim,
    at_once,
    look_who_may_write,
    take,
)
from workers import boot
from workers.jobs import runs as run_jobs
from workers.jobs import steps as step_jobs
from workers.pipelines.seat import Done

OUTPUTS = {"task_breakdown_json": "[]", "validated_tasks_json": "[]"}
FORM = {"task": "Build a todo app", "model_override": "scripted/demo"}
MOST_RUNS = 3
CLIENTS = strategies.sampled_from([ANNA, BEN])
RUNS = strategies.integers(0, MOST_RUNS - 1)
CENTS = strategies.integers(0, 120)  # of the hundred that a run may spend
HEARING = ("claim", "claim", "claim late", "advance late", "finish", "finish")
WORK = ("reserve", "reserve", "reserve", "pay", "pay", "complete", "fail", "give back", "die")
STEPS = ("DECOMPOSE", "VALIDATE", "NOWHERE")
COMMANDS = (
    "cancel",
    "cancel",
    "pause",
    "pause now",
    "resume",
    "resume",
    "restart",
    "raise",
    *STEPS,
)
ACTS: Mapping[str, Mapping[str, strategies.SearchStrategy[Any]]] = {  # and what is drawn for them
    "create": {"client": CLIENTS},
    "fork": {
        "which": RUNS,
        "client": CLIENTS,
        "step_id": strategies.sampled_from([None, "VALIDATE"]),
    },
    "hear": {"which": RUNS, "does": strategies.sampled_from(HEARING)},
    "work": {
        "does": strategies.sampled_from(WORK),
        "cents": CENTS,
        "stale": strategies.booleans(),
    },
    "ask": {"which": RUNS, "command": strategies.sampled_from(COMMANDS)},
}
AN_ACT = strategies.one_of(
    *[
        strategies.tuples(strategies.just(name), strategies.fixed_dictionaries(drawn))
        for name, drawn in ACTS.items()
    ]
)


class RunsLife(RuleBasedStateMachine):
    """Some runs, pushed around by two clients, workers, a clock and crashes.

    Each may spend a dollar, and whoever works on a step pays for calls of models. What is drawn
    never depends on what came before, which crowds decide.
    """

    def __init__(self) -> None:
        super().__init__()
        self.run_ids: list[str] = []
        self.claims: list[Claim] = []
        self.cancels = Cancels()

    def teardown(self) -> None:
        for run_id in self.run_ids:  # the hands of agents are for the next example
            with suppress(Conflict):
                commands.cancel(run_id)

    def run_of(self, which: int) -> Run:
        return Run.get_by_id(self.run_ids[which % len(self.run_ids)])

    @initialize(client=CLIENTS)
    def begin(self, client: Principal) -> None:
        self.create(client)
        self.hear(0, "claim")

    @rule(acts=strategies.lists(AN_ACT, min_size=2, max_size=5))
    def crowd(self, acts: Sequence[tuple[str, Mapping[str, Any]]]) -> None:
        """Many do something at the same moment."""
        at_once(*[partial(getattr(self, name), **drawn) for name, drawn in acts])

    @rule(**ACTS["create"])
    def create(self, client: Principal) -> None:
        if len(self.run_ids) < MOST_RUNS:
            form = {**FORM, "limit_usd": 1}
            run = commands.start(client, Pipeline.get_by_id("planning"), form)
            self.run_ids.append(run.id)

    @rule(**ACTS["fork"])
    def fork(self, which: int, client: Principal, step_id: str | None) -> None:
        if len(self.run_ids) < MOST_RUNS:
            with suppress(Conflict, NotFound):
                run = forks.fork(client, self.run_of(which), {"from_step": step_id})
                self.run_ids.append(run.id)

    @rule(**ACTS["hear"])
    def hear(self, which: int, does: str) -> None:
        """A worker hears of a run, perhaps late, and takes the step that waits, or sees to all."""
        run = self.run_of(which)
        run_jobs.advance(run.id, run.attempt - ("late" in does))
        while claims := self.taken(run) if "advance" not in does else []:
            self.claims += claims
            if "finish" not in does:
                break
            for claimed in claims:
                step_jobs.settle(*claimed, Done(step={"outputs": OUTPUTS}))

    def taken(self, run: Run) -> list[Claim]:
        return [claimed for step in Step.of(run) if (claimed := take(step.id))]

    @rule(**ACTS["work"])
    def work(self, does: str, cents: int, stale: bool) -> None:
        """Whoever took a step last, or the one who first did, goes on with it."""
        if not self.claims:
            return
        run, step = self.claims[0 if stale else -1]
        if does == "give back":
            step_jobs.give_back(run, step)
        elif does == "die":
            at_work = (Step.lease_id == step.lease_id) & (Step.state == steps.RUNNING)
            Step.update(leased_until=1).where(at_work).execute()
            step_jobs.recover(step.id)
            spending.lose_abandoned()
        elif does == "reserve":
            amount = Amount(Decimal(cents) / 100, 1)
            while_held(step, lambda locked: spending.reserve(locked, step.id, amount))
        elif does == "pay":
            while_held(step, lambda locked: pay(locked, step, Decimal(cents) / 100))
        else:
            error = "broken" if does == "fail" else None
            step_jobs.settle(run, step, Done(error, step={"outputs": OUTPUTS}))

    @rule(**ACTS["ask"])
    def ask(self, which: int, command: str) -> None:
        """A person presses a button."""
        run = self.run_of(which)
        with suppress(Conflict, NotFound):
            if command == "cancel":
                self.cancels.cancel(run.id)
                self.come_late(run)
            elif command == "raise":
                raise_limit(run)
            elif command == "pause now":
                commands.pause(run.id, now=True)
            elif command in STEPS:
                commands.restart_step(run.id, command)
            else:
                getattr(commands, command)(run.id)

    def come_late(self, run: Run) -> None:
        """Whoever has ever taken a step of the run pays for a call, and brings what came of it."""
        for claimed in [each for each in self.claims if each[0].id == run.id]:
            while_held(claimed[1], partial(pay, step=claimed[1], usd=Decimal(1)))
            step_jobs.settle(*claimed, Done(step={"outputs": OUTPUTS}))

    @invariant()
    def at_most_one_step_of_a_run_is_active(self) -> None:
        mine = Step.run.in_(self.run_ids) & Step.state.in_(steps.ACTIVE)
        active = Counter(step.run_id for step in Step.select(Step.run).where(mine))
        assert all(count == 1 for count in active.values())

    @invariant()
    def a_step_has_at_most_one_owner(self) -> None:
        look_who_may_write(self.claims)

    @invariant()
    def an_ended_run_has_a_time_and_nothing_under_way(self) -> None:
        at_work = Step.run.in_(self.run_ids) & Step.state.in_(steps.ACTIVE)
        busy = {step.run_id for step in Step.select(Step.run).where(at_work)}
        for run in Run.select().where(Run.id.in_(self.run_ids)):
            assert (run.completed_at is not None) == (run.state in runs.OVER)
            assert run.state not in runs.OVER or run.id not in busy

    @invariant()
    def histories_have_no_gaps_and_end_once(self) -> None:
        for run in Run.select().where(Run.id.in_(self.run_ids)):
            written = Event.select(Event.seq, Event.type).where(Event.run_id == run.id)
            told = dict(written.order_by(Event.seq).tuples())
            assert list(told) == list(range(1, run.event_seq + 1))
            assert (told[run.event_seq] in events.FINAL) == (run.state in runs.OVER)
            for seq, kind in told.items():
                if kind in events.FINAL:
                    assert told.get(seq + 1, BEGUN_ANEW[0]) in BEGUN_ANEW

    @invariant()
    def nothing_happens_after_an_acknowledged_cancel(self) -> None:
        self.cancels.look()

    @invariant()
    def no_budget_goes_below_zero(self) -> None:
        for budget in Budget.select().where(Budget.run.in_(self.run_ids)):
            assert budget.spent_usd >= 0
            assert budget.reserved_usd >= 0
            assert budget.limit_usd is None or (
                budget.limit_usd - budget.spent_usd - budget.reserved_usd >= 0
            )


def while_held(step: Step, act: Callable[[Run], object]) -> None:
    """What a worker does in the transaction of a step that is still its own."""
    with base.db.atomic():
        locked = step.held_run()
        if locked is not None:
            act(locked)


def pay(run: Run, step: Step, usd: Decimal) -> None:
    """A call takes at most what was set aside for it."""
    text = "SELECT coalesce(min(usd), 0) FROM reservations WHERE execution_id = %s"
    (most,) = base.db.execute_sql(text, (step.id,)).fetchone()
    spending.settle(run, step.id, Amount(min(usd, most), 1))


def raise_limit(run: Run) -> None:
    with held(run) as locked:
        budget = budgets.of_run(locked)
        usd = budget.limit_usd if budget and budget.limit_usd else Decimal(0)
        budgets.limit(locked, {"limit_usd": usd + 1})


@pytest.mark.timeout(400)
def test_runs_keep_their_promises_whatever_happens_to_them(
    database: str, pytestconfig: pytest.Config
) -> None:
    boot.load_performers()
    run_state_machine_as_test(
        RunsLife,
        settings=settings(
            max_examples=12,
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
    assert base.db.execute_sql("SELECT count(*) FROM runs").fetchone()[0] > 0
