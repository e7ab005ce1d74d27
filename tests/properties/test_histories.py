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
from tasks import runs as commands
from workers import boot, clock
from workers.jobs import runs as run_jobs
from workers.jobs import steps as step_jobs
from workers.pipelines.sitting import Done

ANNA = Principal("usr_anna", "user")
CLIENTS, WORKERS, RUNS, ACTS = 6, 4, 5, 60
OUTPUTS = {"task_breakdown_json": "[]", "validated_tasks_json": "[]"}
CALL = Amount(Decimal("0.30"), 100)
LIMIT = Decimal(1)


class History:
    """What everybody did to the runs, and what they were answered."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.run_ids = [self._begin(number) for number in range(RUNS)]
        self.cancelled: list[tuple[str, int]] = []  # run and its number of events at that moment
        self.settled: Counter[str] = Counter()
        self.paid: Counter[str] = Counter()
        self.faults: list[BaseException] = []

    def _begin(self, number: int) -> str:
        form = {"task": f"Task {number}", "model_override": "scripted/demo"}
        run = commands.start(ANNA, Pipeline.get_by_id("planning"), form)
        with base.db.atomic():
            locked = Run.locked(run.id)
            budgets.limit(locked, {"limit_usd": LIMIT})
        return run.id

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
        run_id = dice.choice(self.run_ids)
        command = dice.choice(
            [commands.cancel, commands.pause, commands.resume, commands.restart, "step"]
        )
        with suppress(Conflict, NotFound):
            if command == "step":
                commands.restart_step(run_id, dice.choice(["DECOMPOSE", "VALIDATE"]))
            elif command is commands.cancel:
                self.cancelled.append((run_id, commands.cancel(run_id).event_seq))
            else:
                command(run_id)

    def labour(self, dice: random.Random) -> None:
        """A worker takes what is there, pays for a call and settles, gives back, or is lost."""
        run = Run.get_by_id(dice.choice(self.run_ids))
        run_jobs.advance(run.id, run.attempt)
        for step in Step.of(run):
            claimed = step_jobs.claim(step.id) if step.state == steps.QUEUED else None
            if claimed is None:
                continue
            self._call(*claimed)
            fate = dice.random()
            if fate < 0.6:
                before = Step.get_by_id(step.id).state
                step_jobs.settle(*claimed, Done(step={"outputs": OUTPUTS}))
                after = Step.get_by_id(step.id)
                if before == steps.RUNNING and after.lease_id == claimed[1].lease_id:
                    self.settled[step.id] += after.state == steps.COMPLETED
            elif fate < 0.8:
                step_jobs.give_back(*claimed)

    def _call(self, run: Run, step: Step) -> None:
        """One paid call, if the lease holds and the budget has room."""
        with base.db.atomic():
            locked = step.held_run()
            if locked is None:
                return
            granted = reserve(locked, step.id, CALL)
        if not isinstance(granted, Granted):
            return
        with base.db.atomic():
            locked = step.held_run()
            if locked is not None:
                settle(locked, step.id, CALL)
                self.paid[run.id] += 1

    def tick(self, dice: random.Random) -> None:
        """Time passes: leases run out, the clock sweeps."""
        if dice.random() < 0.3:
            mine = (Step.run.in_(self.run_ids)) & (Step.state == steps.RUNNING)
            Step.update(leased_until=1).where(mine & (Step.tries < 2)).execute()
        for step in leases.expired():
            step_jobs.recover(step.id)
        clock.sweep_requests()


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
        a_cancelled_run_is_left_alone(run_id, history)
        one_end_per_step(run_id, history)
        nobody_overspent(run_id, history)
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
        begun_anew = event.type in ("run_created", "human_intervention")
        assert begun_anew or not over, f"{event.type} after the end of {run_id}"
        over = event.type in events.FINAL


def a_cancelled_run_is_left_alone(run_id: str, history: History) -> None:
    """The event after the one that acknowledged a cancel is a person's, or there is none."""
    told = {event.seq: event.type for event in events.after(run_id, 0, 100_000)}
    for seq in (seq for cancelled, seq in history.cancelled if cancelled == run_id):
        assert told.get(seq + 1, "run_created") in ("run_created", "human_intervention")


def one_end_per_step(run_id: str, history: History) -> None:
    for step in Step.select().where(Step.run == run_id):
        assert history.settled[step.id] <= 1
    completed = [
        event.data["executionId"]
        for event in events.after(run_id, 0, 100_000)
        if event.type == "step_complete"
    ]
    assert len(completed) == len(set(completed))


def nobody_overspent(run_id: str, history: History) -> None:
    budget = Budget.get_by_id(budgets.run_key(run_id))
    assert Decimal(0) <= budget.spent_usd + budget.reserved_usd <= LIMIT
    assert budget.spent_usd >= history.paid[run_id] * CALL.usd
