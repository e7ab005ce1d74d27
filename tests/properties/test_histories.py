"""Histories: many clients, workers and a clock at once, on few runs, against the real Postgres.

What each of them was answered is checked against what the rows and events say afterwards.
"""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from decimal import Decimal
from functools import partial

import pytest

from models import base, budgets, events, leases, runs, spending, steps
from models.budgets import Budget
from models.errors import Conflict, NotFound
from models.invariants import breaches
from models.pipelines import Pipeline
from models.principals import Principal
from models.runs import Run
from models.spending import Amount, Granted, reserve, settle
from models.steps import Step
from tasks import forks
from tasks import runs as commands
from tests.properties.crowds import BEGUN_ANEW, Cancels, Claim, look_who_may_write, take
from workers import boot, clock
from workers.jobs import runs as run_jobs
from workers.jobs import steps as step_jobs
from workers.pipelines.sitting import Done

ANNA = Principal("usr_anna", "user")
CLIENTS, WORKERS, RUNS, ACTS = 6, 4, 5, 60
MOST_RUNS = 8  # forks among them
OUTPUTS = {"task_breakdown_json": "[]", "validated_tasks_json": "[]"}
CALL = Amount(Decimal("0.30"), 100)
LIMIT = Decimal(1)


class History:
    """What everybody did to the runs, and what they were answered."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.run_ids = [self._begin() for _ in range(RUNS)]
        self.claims: list[Claim] = []
        self.cancels = Cancels()
        self.paid: Counter[str] = Counter()
        self.faults: list[BaseException] = []

    def _begin(self) -> str:
        form = {"task": "Build a todo app", "model_override": "scripted/demo", "limit_usd": LIMIT}
        return commands.start(ANNA, Pipeline.get_by_id("planning"), form).id

    def play(self) -> None:
        """Let everybody act at the same time."""
        parts = [self.steer] * CLIENTS + [self.labour] * WORKERS + [self.tick]
        threads = [
            threading.Thread(target=self._part, args=(act, random.Random(f"{self.seed}-{number}")))
            for number, act in enumerate(parts)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _part(self, act: Callable[[random.Random], None], dice: random.Random) -> None:
        try:
            with base.db.connection_context():
                for _ in range(ACTS):
                    act(dice)
        except BaseException as fault:
            self.faults.append(fault)

    def steer(self, dice: random.Random) -> None:
        """A client presses a button."""
        step = partial(commands.restart_step, step_id=dice.choice(["DECOMPOSE", "VALIDATE"]))
        buttons: list[Callable[[str], object]] = [
            *(self.cancels.cancel, commands.pause, commands.resume, commands.restart),
            *(step, self.fork, self.replace),
        ]
        with suppress(Conflict, NotFound):
            dice.choice(buttons)(dice.choice(self.run_ids))

    def fork(self, run_id: str) -> None:
        """Share what a run has done, and pay for none of it."""
        source = Run.find(run_id)
        if source is not None and len(self.run_ids) < MOST_RUNS:
            with base.db.atomic():
                fork = forks.fork(ANNA, source, {})
                assert nobody_overspent(fork.id) == 0
            self.run_ids.append(fork.id)

    def replace(self, run_id: str) -> None:
        """Delete a run that has ended, and begin another."""
        commands.delete(run_id)
        self.run_ids[self.run_ids.index(run_id)] = self._begin()

    def labour(self, dice: random.Random) -> None:
        """A worker takes what is there, pays for calls and settles, gives back, or is lost.

        Now and then somebody who took a step before is back from wherever he was.
        """
        run = Run.find(dice.choice(self.run_ids))
        if run is None:
            return
        run_jobs.advance(run.id, run.attempt)
        while claims := [claimed for step in Step.of(run) if (claimed := take(step.id))]:
            self.claims += claims
            for claimed in claims:
                self._call(*claimed)
                self._leave(*claimed, dice.random())
        if self.claims and dice.random() < 0.2:
            self._leave(*dice.choice(self.claims), dice.random())

    def _leave(self, run: Run, step: Step, fate: float) -> None:
        if fate < 0.6:
            step_jobs.settle(run, step, Done(step={"outputs": OUTPUTS}))
        elif fate < 0.8:
            step_jobs.give_back(run, step)

    def _call(self, run: Run, step: Step) -> None:
        """One paid call, if the lease holds and the budget has room."""
        with base.db.atomic():
            locked = step.held_run()
            if locked is None:
                return
            granted = reserve(locked, step.id, CALL)
            nobody_overspent(run.id)
        if not isinstance(granted, Granted):
            return
        with base.db.atomic():
            locked = step.held_run()
            if locked is not None:
                settle(locked, step.id, CALL)
                nobody_overspent(run.id)
                self.paid[run.id] += 1

    def tick(self, dice: random.Random) -> None:
        """Time passes: leases run out, the clock sweeps."""
        if dice.random() < 0.3:
            mine = (Step.run.in_(self.run_ids)) & (Step.state == steps.RUNNING)
            Step.update(leased_until=1).where(mine & (Step.tries < 2)).execute()
        for step in leases.expired():
            step_jobs.recover(step.id)
        spending.lose_abandoned()
        clock.sweep_requests()
        self.cancels.look()


@pytest.fixture
def history(database: str, request: pytest.FixtureRequest) -> History:
    boot.load_performers()
    played = History(request.param)
    played.play()
    if played.faults:
        raise played.faults[0]
    return played


seeds = pytest.mark.parametrize("history", range(4), indirect=True, ids=lambda seed: f"seed {seed}")


@seeds
def test_whatever_many_do_at_once_every_run_comes_to_one_end(
    history: History, work: Callable[[int], int]
) -> None:
    assert breaches(60_000) == []
    for run_id in history.run_ids:
        nothing_follows_an_end(run_id)
        one_end_per_step(run_id)
        what_it_shares_is_as_it_was(run_id)
        assert nobody_overspent(run_id) >= history.paid[run_id] * CALL.usd
    history.cancels.look()
    look_who_may_write(history.claims)
    for run_id in history.run_ids:
        with suppress(Conflict):
            commands.resume(run_id)
    Step.update(leased_until=1).where(Step.state == steps.RUNNING).execute()
    clock.sweep_leases()
    work()
    spending.lose_abandoned()
    states = {Run.get_by_id(run_id).state for run_id in history.run_ids}
    assert states <= set(runs.OVER) | {runs.PAUSED}
    assert breaches(0) == []


def nothing_follows_an_end(run_id: str) -> None:
    """After its last event a run is told of only once somebody has started it again."""
    over = False
    for event in events.after(run_id, 0, 100_000):
        begun_anew = event.type in BEGUN_ANEW
        assert begun_anew or not over, f"{event.type} after the end of {run_id}"
        over = event.type in events.FINAL


def one_end_per_step(run_id: str) -> None:
    ended = [
        event.data["executionId"]
        for event in events.after(run_id, 0, 100_000)
        if event.type in ("step_complete", "step_failed")
    ]
    assert len(ended) == len(set(ended))


def what_it_shares_is_as_it_was(run_id: str) -> None:
    """With the run it forks, unless that was deleted."""
    for step in Step.select().where((Step.run == run_id) & Step.origin_id.is_null(False)):
        origin = Step.find(step.origin_id)
        assert origin is None or (origin.state, origin.outputs) == (step.state, step.outputs)


def nobody_overspent(run_id: str) -> Decimal:
    """What the run has spent, which with what is set aside is within its limit."""
    budget = Budget.get_by_id(budgets.run_key(run_id))
    assert budget.spent_usd >= 0 and budget.reserved_usd >= 0
    assert budget.spent_usd + budget.reserved_usd <= LIMIT
    spent: Decimal = budget.spent_usd
    return spent
