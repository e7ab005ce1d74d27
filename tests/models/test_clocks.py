"""A worker whose clock is an hour ahead misleads nobody: one clock says what is late."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal

import pytest

from models import base, config, processes, steps, swarms, waiting
from models.budgets import Budget
from models.events import Event
from models.invariants import breaches
from models.outbox import Outbox
from models.pipelines import Pipeline
from models.processes import Process
from models.runs import Run
from models.spending import Busy, Granted
from models.steps import Step
from models.swarms import Swarm
from tasks import runs
from tasks import steps as step_tasks
from tests.models.spenders import ANNA, new_run, reserve
from tests.tasks.ordering import launched, task
from workers.jobs import runs as run_jobs
from workers.jobs import steps as jobs
from workers.jobs import swarms as swarm_jobs
from workers.pipelines.seat import Done

HOUR = 3600
Ahead = Callable[[], "contextmanager[None]"]


@pytest.fixture
def ahead(monkeypatch: pytest.MonkeyPatch) -> Ahead:
    """Sets the clock of this process an hour ahead while the block lasts."""
    real, real_ns = time.time, time.time_ns

    @contextmanager
    def shifted() -> Iterator[None]:
        with monkeypatch.context() as patch:
            patch.setattr(time, "time", lambda: real() + HOUR)
            patch.setattr(time, "time_ns", lambda: real_ns() + HOUR * 10**9)
            yield

    return shifted


def is_now(moment: int | None) -> bool:
    return moment is not None and abs(moment - base.database_ms()) < 60_000


def begun() -> Run:
    form = {"task": "x", "model_override": "scripted/demo"}
    return runs.start(ANNA, Pipeline.get_by_id("planning"), form)


def test_steps_that_it_asks_for_are_missed_as_soon_as_others(database: str, ahead: Ahead) -> None:
    with ahead():
        run = begun()
        run_jobs.advance(run.id, 1)
    (step,) = Step.of(Run.get_by_id(run.id))
    assert is_now(step.updated_at)
    assert is_now(Run.get_by_id(run.id).updated_at)
    base.db.execute_sql("DELETE FROM outbox")
    assert waiting.forgotten(0)["agents"].first == [(step.id, None)]
    Step.delete().execute()
    time.sleep(0.01)
    assert [idle.id for idle in waiting.idle_runs(0)] == [run.id]


def test_what_it_claims_ends_and_cancels_has_the_time_of_the_database(
    database: str, ahead: Ahead
) -> None:
    with ahead():
        ended, cancelled = begun(), begun()
        for run in (ended, cancelled):
            run_jobs.advance(run.id, 1)
        (step,) = Step.of(Run.get_by_id(ended.id))
        claimed = jobs.claim(step.id)
        assert claimed is not None
        assert is_now(claimed[1].started_at)
        jobs.settle(*claimed, Done("broken", step={"final": True}))
        assert is_now(runs.cancel(cancelled.id).completed_at)  # in memory too
    rows = [*Run.select(), *Step.select()]
    assert len(rows) == 4
    sent = [row.body["at"] for row in Outbox.select() if row.body.get("seq")]
    assert len(sent) == Event.select().count() > 0
    assert all(map(is_now, [*sent, *[event.created_at for event in Event.select()]]))
    assert all(is_now(row.completed_at) and is_now(row.updated_at) for row in rows)
    assert breaches(60_000) == []


def test_swarms_that_it_conducts_are_missed_as_soon_as_others(database: str, ahead: Ahead) -> None:
    with ahead():
        swarm = launched(task("A"), task("B"))
        swarm_jobs.advance(swarm.id)
    assert is_now(Swarm.get_by_id(swarm.id).updated_at)
    for run in Run.select():
        runs.cancel(run.id)
    time.sleep(0.01)
    assert swarms.stalled(0) == [swarm.id]


def test_it_is_alive_as_long_as_it_says_so_and_no_longer(database: str, ahead: Ahead) -> None:
    with ahead():
        me = processes.register("worker", ["agents"])
        processes.heartbeat(me)
        assert processes.alive() == 1
    assert is_now(Process.get_by_id(me.id).seen_at)
    assert processes.alive() == 1


def test_a_step_is_interrupted_and_given_back_by_the_same_clock(
    database: str, ahead: Ahead
) -> None:
    with ahead():
        run = begun()
        run_jobs.advance(run.id, 1)
        (step,) = Step.of(Run.get_by_id(run.id))
        assert jobs.claim(step.id) is not None
        with base.db.atomic():
            locked = Run.locked(run.id)
            assert locked is not None
            step_tasks.interrupt(locked, "stopped")
    back = Step.get_by_id(step.id)
    assert (back.state, is_now(back.updated_at)) == (steps.QUEUED, True)


def test_what_it_spends_belongs_to_the_day_of_the_database(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("USER_DAILY_BUDGET_USD", "1")
    config.settings.cache_clear()
    run, real = new_run(), time.time
    with monkeypatch.context() as patch:
        patch.setattr(time, "time", lambda: real() + 24 * HOUR)
        assert spent(run) == Granted()
    assert spent(run) == Granted()
    (today,) = Budget.select()
    (day,) = base.db.execute_sql("SELECT (now() AT TIME ZONE 'UTC')::date::text").fetchone()
    assert (today.day, today.reserved_usd) == (day, Decimal("0.6"))
    assert spent(run) == Granted()
    assert isinstance(spent(run), Busy)
    monkeypatch.undo()
    config.settings.cache_clear()


def spent(run: Run) -> object:
    """What setting 30 cents aside for one more call comes to."""
    return reserve(run, Step.id.default(), "0.3")
