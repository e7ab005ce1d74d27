"""A step's work under its lease: taken over, drained, broken, refused."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import peewee
import pytest

from models import base, events, runs, steps
from models.agents import Agent
from models.config import Settings
from models.outbox import Outbox
from models.pipelines import Pipeline
from models.principals import Principal
from models.processes import Process
from models.runs import Run
from models.sessions import Session
from models.steps import Step
from tasks import runs as commands
from tests.beginning import begun
from workers import clock
from workers.claiming import APART_MS, claim
from workers.jobs import runs as run_jobs
from workers.jobs import steps as jobs
from workers.leases import keeper
from workers.llm.base import Throttled
from workers.pipelines.seat import Done
from workers.sandboxes import choose
from workers.sandboxes.base import Engine, SandboxAway
from workers.workspaces import Passing, WorkspaceError

ANNA = Principal("usr_anna", "user")


@pytest.fixture
def step(work: Callable[[int], int]) -> Step:
    """The first step of a planning run, waiting."""
    form = {"task": "Build a todo app", "model_override": "scripted/demo"}
    run = commands.start(ANNA, Pipeline.get_by_id("planning"), form)
    return begun(run.id)


def expire(step: Step) -> None:
    """Its worker goes silent, and the clock has it recovered."""
    Step.update(leased_until=1).where(Step.id == step.id).execute()
    clock.sweep_leases()
    asked = base.db.execute_sql("DELETE FROM outbox WHERE body->>'task' = 'steps.recover'")
    assert asked.rowcount == 1
    jobs.recover(step.id)


def of(step: Step) -> Step:
    return Step.get_by_id(step.id)


def kinds(step: Step) -> list[str]:
    return [event.type for event in events.after(step.run_id, 0, 1000)]


def told(step: Step, kind: str) -> list[dict[str, Any]]:
    return [event.data for event in events.after(step.run_id, 0, 1000) if event.type == kind]


def test_of_twenty_workers_one_gets_the_step(step: Step) -> None:
    taken: list[Any] = []

    def take() -> None:
        with base.db.connection_context():
            taken.append(jobs.claim(step.id))

    threads = [threading.Thread(target=take) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len([claim for claim in taken if claim]) == 1
    assert kinds(step).count("step_started") == 1


def test_a_step_whose_worker_went_silent_is_given_to_another(
    step: Step, work: Callable[[], int]
) -> None:
    claimed = jobs.claim(step.id)
    assert claimed is not None
    expire(step)
    assert of(step).state == steps.QUEUED
    assert Session.get_by_id(claimed[1].session_id).state == "failed"
    work()
    assert Run.get_by_id(step.run_id).state == runs.COMPLETED
    assert of(step).tries == 2


def test_a_worker_that_was_taken_over_cannot_write(step: Step, work: Callable[[], int]) -> None:
    claimed = jobs.claim(step.id)
    assert claimed is not None
    expire(step)
    work()
    told = kinds(step)
    jobs.settle(*claimed, Done(step={"outputs": {"stale": "yes"}}))
    assert "stale" not in Run.get_by_id(step.run_id).outputs
    assert kinds(step) == told


def test_a_run_that_kills_its_worker_again_and_again_is_quarantined(step: Step) -> None:
    """Whole workers die of other things too: only a process of its own proves it sooner."""
    for _ in range(2 * steps.MOST_TRIES):
        assert of(step).state == steps.QUEUED
        assert jobs.claim(step.id) is not None
        expire(step)
    lost = of(step)
    assert lost.state == steps.FAILED
    run = Run.get_by_id(step.run_id)
    assert (run.state, run.quarantined) == (runs.FAILED, True)
    assert run.error == (
        f"quarantined: its worker was lost, 6 times at the same point of step {step.step_id}"
    )


def test_where_other_workers_die_too_a_step_is_not_to_blame_at_once(step: Step) -> None:
    for number in range(4 * steps.MOST_TRIES + 1):
        Process.create(kind="worker", host="elsewhere", pid=number, tag=f"dead{number}")
    for _ in range(4 * steps.MOST_TRIES):
        assert of(step).state == steps.QUEUED
        assert jobs.claim(step.id) is not None
        expire(step)
    assert Run.get_by_id(step.run_id).quarantined  # in the long run it is


def broken_by(step: Step, error: Exception) -> None:
    claimed = jobs.claim(step.id)
    assert claimed is not None
    with pytest.raises(type(error)), jobs.GivenBackOnError(*claimed):
        raise error


def test_an_error_of_its_own_is_proof_the_third_time(step: Step) -> None:
    for _ in range(steps.MOST_TRIES):
        broken_by(step, ZeroDivisionError("a bug of ours"))
    run = Run.get_by_id(step.run_id)
    assert (run.state, run.quarantined) == (runs.FAILED, True)
    assert run.error.startswith("quarantined: an unexpected ZeroDivisionError, which the log shows")


def test_a_machine_that_loses_files_may_be_to_blame_instead(step: Step) -> None:
    for _ in range(2 * steps.MOST_TRIES):
        assert of(step).state == steps.QUEUED
        broken_by(step, FileNotFoundError("a folder that somebody removed"))
    assert Run.get_by_id(step.run_id).quarantined


def test_an_outage_is_not_its_fault(step: Step) -> None:
    broken_by(step, peewee.OperationalError("the database is away"))
    assert (of(step).state, of(step).tries) == (steps.QUEUED, 0)


def test_one_that_was_lost_too_often_among_others_waits_for_another_such_one(step: Step) -> None:
    for _ in range(steps.MOST_TOGETHER):
        assert jobs.claim(step.id) is not None
        expire(step)
    with keeper.holding("of another one", 60, time.monotonic() + 60, alone=True):
        assert jobs.claim(step.id) is None
        base.db.execute_sql("SELECT pg_sleep(%s)", ((APART_MS + 10) / 1000,))
        assert jobs.claim(step.id) is None
    base.db.execute_sql("SELECT pg_sleep(%s)", ((APART_MS + 10) / 1000,))
    assert jobs.claim(step.id) is not None


def test_a_drained_worker_gives_its_step_back_without_a_try(step: Step) -> None:
    claimed = jobs.claim(step.id)
    assert claimed is not None
    jobs.give_back(*claimed)
    assert (of(step).state, of(step).tries) == (steps.QUEUED, 0)


def test_an_agent_with_its_hands_full_takes_no_more(step: Step, work: Callable[[int], int]) -> None:
    Agent.update(concurrent_steps=1).where(Agent.id == step.agent_id).execute()
    form = {"task": "Another", "model_override": "scripted/demo"}
    other = commands.start(ANNA, Pipeline.get_by_id("planning"), form)
    claimed = jobs.claim(step.id)
    assert claimed is not None
    work(3)  # what the former run asked, and the other one
    (waiting,) = Step.of(Run.get_by_id(other.id))
    assert jobs.claim(waiting.id) is None
    commands.cancel(step.run_id)  # frees the hand, and asks for who waits
    work()
    assert Run.get_by_id(other.id).state == runs.COMPLETED
    Agent.update(concurrent_steps=2).where(Agent.id == step.agent_id).execute()


def test_a_step_on_its_way_to_a_worker_is_not_asked_for_again(step: Step) -> None:
    form = {"task": "Another", "model_override": "scripted/demo"}
    other = commands.start(ANNA, Pipeline.get_by_id("planning"), form)
    run_jobs.advance(other.id, other.attempt)
    commands.cancel(step.run_id)  # frees a hand, but nobody was refused one
    (waiting,) = Step.of(Run.get_by_id(other.id))
    asked = [row.body["args"] for row in Outbox.select().where(Outbox.queue == "agents")]
    assert asked.count([waiting.id]) == 1


def test_a_model_that_cannot_be_had_fails_the_step_with_words_that_help(
    step: Step, work: Callable[[int], int]
) -> None:
    nobodys = {"owner_id": "anonymous", "model_override": "openai/gpt-5.1"}
    Run.update(nobodys).where(Run.id == step.run_id).execute()
    work(1)
    failed = of(step)
    assert failed.state == steps.FAILED
    assert "OPENAI_API_KEY" in (failed.error or "")
    assert failed.final
    assert Run.get_by_id(step.run_id).state == runs.FAILED  # no retry would find a key


def test_provider_trouble_is_waited_out_without_costing_a_retry(
    step: Step, work: Callable[[int], int]
) -> None:
    trouble = '```scripted\n{"default": {"error": "unavailable"}}\n```'
    Run.update(task=trouble).where(Run.id == step.run_id).execute()
    delays = []
    for _ in range(jobs.MOST_HINDRANCES):
        work(1)
        (waiting,) = Step.of(Run.get_by_id(step.run_id))
        assert (waiting.state, waiting.retry, waiting.tries) == (steps.QUEUED, 0, 0)
        delays.append(told(step, "step_retrying")[-1]["delay"])
        assert 0 < waiting.due_at - base.now_ms() <= delays[-1] * 1000
        hurry()
    assert delays == [1, 2, 4, 8, 16, 32, 60, 60]
    work(1)
    failed, again = Step.of(Run.get_by_id(step.run_id))
    assert (failed.state, again.state, again.retry) == (steps.FAILED, steps.QUEUED, 1)


@pytest.mark.parametrize(("asked", "given"), [(7.5, 7.5), (0.2, 1), (86_400, 600), (None, 1)])
def test_a_provider_that_asks_for_time_is_given_it_within_reason(
    step: Step, asked: float | None, given: float
) -> None:
    claimed = claim(step.id)
    assert claimed is not None
    jobs.settle(*claimed, jobs.hindered(Throttled("slow down", asked)))
    assert told(step, "step_retrying")[-1]["delay"] == given


def test_a_transaction_that_is_tried_twice_counts_once(step: Step) -> None:
    claimed = claim(step.id)
    assert claimed is not None
    with pytest.raises(peewee.OperationalError), base.db.atomic():
        jobs.settle(*claimed, jobs.hindered(Throttled("slow down", 1)))
        raise peewee.OperationalError("the server closed the connection unexpectedly")
    jobs.settle(*claimed, jobs.hindered(Throttled("slow down", 1)))
    assert (of(step).hindrances, of(step).tries) == (1, 0)


def hurry() -> None:
    """What waits for its next try is due now."""
    Step.update(due_at=0).where(Step.state == steps.QUEUED).execute()
    base.db.execute_sql("UPDATE outbox SET due_at = 0")


def test_lost_requests_are_asked_again(step: Step, settings: Settings) -> None:
    base.db.execute_sql("DELETE FROM outbox")
    assert clock.sweep_requests() is None
    assert base.db.execute_sql("SELECT count(*) FROM outbox").fetchone() == (0,)
    Step.update(updated_at=1).where(Step.id == step.id).execute()
    clock.sweep_requests()
    clock.sweep_requests()
    asked = base.db.execute_sql("SELECT body->>'task' FROM outbox").fetchall()
    assert asked == [("steps.execute",)]


def test_files_that_cannot_be_had_just_now_are_waited_for() -> None:
    done = jobs.hindered(Passing("git was ended: Terminated"))
    assert (done.step, done.after) == ({}, 0)
    assert str(done.error).endswith("git was ended: Terminated")


def test_so_is_a_container_engine_that_is_away_for_a_while(step: Step) -> None:
    for _ in range(jobs.MOST_HINDRANCES):
        with pytest.raises(SandboxAway) as away:
            choose("docker", Engine("unix:///nonexistent/engine.sock"))
        claimed = claim(step.id)
        assert claimed is not None
        jobs.settle(*claimed, jobs.hindered(away.value))
        assert of(step).state == steps.QUEUED
        hurry()
    claimed = claim(step.id)
    assert claimed is not None
    jobs.settle(*claimed, jobs.hindered(away.value))
    assert (of(step).state, of(step).final) == (steps.FAILED, True)
    assert "no container engine answers" in str(Run.get_by_id(step.run_id).error)


def test_another_trouble_with_files_is_not() -> None:
    assert jobs.hindered(WorkspaceError("fatal: bad object HEAD")).after is None
