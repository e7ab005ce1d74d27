"""A step's time is what was worked on it, by however many workers, and nothing else."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from models import base, runs, steps
from models.pipelines import Pipeline
from models.runs import Run
from models.steps import Step
from tasks import runs as commands
from tasks import steps as step_tasks
from tests.models.spenders import ANNA
from tests.workers.jobs.dying import expire
from workers.jobs import runs as run_jobs
from workers.jobs import steps as jobs

SECOND = 1_000


@pytest.fixture
def step(work: Callable[[], int]) -> Step:
    """The first step of a planning run, waiting."""
    form = {"task": "Build a todo app", "model_override": "scripted/demo"}
    run = commands.start(ANNA, Pipeline.get_by_id("planning"), form)
    run_jobs.advance(run.id, run.attempt)
    (waiting,) = Step.of(Run.get_by_id(run.id))
    return waiting


def worked(step: Step, seconds: float) -> tuple[Run, Step]:
    """A worker takes the step and is at it for so long, under a lease that it renews."""
    claimed = jobs.claim(step.id)
    assert claimed is not None
    began = base.database_ms() - round(seconds * SECOND)
    Step.update(started_at=began).where(Step.id == step.id).execute()
    return claimed


class Passing:
    """So many seconds, and what this test itself has taken since it began."""

    def __init__(self) -> None:
        self.began = time.monotonic()

    def about(self, seconds: float) -> Any:
        taken = time.monotonic() - self.began
        return pytest.approx(seconds, abs=taken + 0.01)


@pytest.fixture
def passing(step: Step) -> Passing:
    return Passing()


def seconds_of(step: Step) -> float:
    return Step.get_by_id(step.id).worked_ms / SECOND


def left(step: Step, timeout: float) -> float:
    return jobs.time_left(Step.get_by_id(step.id), timeout)


def test_time_goes_on_where_a_worker_drained_or_let_a_paused_run_go(
    step: Step, passing: Passing
) -> None:
    jobs.give_back(*worked(step, 20))
    assert (seconds_of(step), left(step, 60)) == (passing.about(20), passing.about(40))
    worked(step, 30)
    commands.pause(step.run_id, now=True)
    assert (seconds_of(step), left(step, 60)) == (passing.about(50), passing.about(10))
    Step.update(updated_at=1).where(Step.id == step.id).execute()  # a long pause
    commands.resume(step.run_id)
    claimed = worked(step, 20)
    assert seconds_of(claimed[1]) == passing.about(50)
    jobs.give_back(*claimed)
    assert left(step, 60) == 0


def test_time_of_a_worker_that_was_lost_counts_until_its_lease_ran_out(
    step: Step, passing: Passing
) -> None:
    worked(step, 20)
    ran_out = base.database_ms() - 5 * SECOND
    Step.update(leased_until=ran_out).where(Step.id == step.id).execute()
    lost = Step.get_by_id(step.id)
    jobs.give_back(lost.run, lost, lost=jobs.LOST)
    assert seconds_of(step) == passing.about(15)


def test_time_stands_still_while_a_step_waits_for_others(step: Step, passing: Passing) -> None:
    _, claimed = worked(step, 10)
    with base.db.atomic():
        step_tasks.suspend(claimed, "run_other")
    assert Step.get_by_id(step.id).state == steps.WAITING
    jobs.awaken(step.id)
    assert Step.get_by_id(step.id).state == steps.QUEUED
    assert seconds_of(step) == passing.about(10)


def test_a_step_whose_time_is_up_fails_whoever_takes_it_next(step: Step) -> None:
    worked(step, 10)
    expire(step.id)
    Step.update(worked_ms=10**9).where(Step.id == step.id).execute()
    jobs.execute(step.id)
    ended, again = Step.of(Run.get_by_id(step.run_id))
    assert (ended.error or "").startswith("timed out after")
    assert again.worked_ms == 0  # a retry has its time to itself
    assert Run.get_by_id(step.run_id).state == runs.RUNNING
