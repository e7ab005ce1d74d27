"""Taking a run up: begun and worked on in one go, by one worker, in its turn."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from models import base, events, runs, steps
from models.agents import Agent
from models.config import Settings
from models.failures import Failure
from models.llm_calls import LlmCall
from models.outbox import Outbox
from models.pipelines import Pipeline
from models.principals import Principal
from models.runs import Run
from models.steps import Step
from tasks import runs as commands
from tests.beginning import begun
from tests.workers.test_dramatiq_traps import died, take
from workers import clock
from workers.broker import BellBroker
from workers.jobs import runs as jobs

ANNA = Principal("usr_anna", "user")
Work = Callable[..., int]


@pytest.fixture
def start(settings: Settings, stream: str, database: str) -> Callable[..., Run]:
    def begin(**form: Any) -> Run:
        form = {"task": "Build a todo app", "model_override": "scripted/demo", **form}
        return commands.start(ANNA, Pipeline.get_by_id("planning"), form)

    return begin


def of(run: Run) -> Run:
    return Run.get_by_id(run.id)


def asked() -> list[tuple[str, str]]:
    """What is asked of agents, in order."""
    rows = Outbox.select().where(Outbox.queue == steps.AGENTS).order_by(Outbox.id)
    return [(row.body["task"], row.body["args"][0]) for row in rows]


def test_one_job_takes_a_run_from_its_request_to_its_second_step(
    start: Callable[..., Run], work: Work
) -> None:
    run = start()
    assert asked() == [("runs.proceed", run.id)]
    work(1)
    first, second = Step.of(of(run))
    assert (first.state, second.state) == (steps.COMPLETED, steps.QUEUED)
    assert asked() == [("steps.execute", second.id)]
    told = [event.type for event in events.after(run.id, 0, 4)]
    assert told == ["run_created", "run_started", "step_queued", "step_started"]


def test_of_many_who_take_it_up_at_once_one_works_on_each_step(start: Callable[..., Run]) -> None:
    run = start()

    def take_up() -> None:
        with base.db.connection_context():
            jobs.proceed(run.id, 1)

    threads = [threading.Thread(target=take_up) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    done = [step for step in Step.of(of(run)) if step.state == steps.COMPLETED]
    assert done and {step.tries for step in done} == {1}
    assert LlmCall.select().where(LlmCall.run_id == run.id).count() == len(done)


def test_who_was_asked_for_before_keeps_its_place_though_the_sweep_has_begun_it(
    start: Callable[..., Run], work: Work
) -> None:
    earlier, later = start(), start()
    step = begun(earlier.id)
    assert asked()[-1] == ("steps.execute", step.id)
    work(1)
    assert Step.get_by_id(step.id).state == steps.COMPLETED
    assert of(later).state == runs.PENDING
    work()
    assert {each.tries for each in Step.of(of(earlier))} == {1}


def test_where_the_agent_has_no_hand_free_the_run_waits_for_one(
    start: Callable[..., Run], work: Work
) -> None:
    first, second = start(), start()
    step = begun(first.id)
    Agent.update(concurrent_steps=1).where(Agent.id == step.agent_id).execute()
    with base.db.atomic():
        assert step.claim(hands=1)
    jobs.proceed(second.id, 1)
    (waiting,) = Step.of(of(second))
    assert (of(second).state, waiting.state) == (runs.RUNNING, steps.QUEUED)
    assert ("steps.execute", waiting.id) not in asked()
    commands.cancel(first.id)  # which frees the hand
    assert ("steps.execute", waiting.id) in asked()
    work()
    assert of(second).state == runs.COMPLETED
    Agent.update(concurrent_steps=2).where(Agent.id == step.agent_id).execute()


def test_who_took_a_run_up_and_died_is_counted_once(
    start: Callable[..., Run], stream: str, work: Work
) -> None:
    """By the step once there is one, and else by the job: deciding may kill a worker, too."""
    begun_run, new = start(), start()
    begun(begun_run.id)
    dead, alive = BellBroker(stream), BellBroker(stream)
    bodies = [row.body for row in Outbox.select() if row.body.get("task") == "runs.proceed"]
    dead.send(steps.AGENTS, bodies)
    consumer = dead.consume(steps.AGENTS, prefetch=2)
    assert [take(consumer) for _ in bodies] == [begun_run.id, new.id]
    died(dead)
    assert alive.put_back_orphans() == 1
    (failure,) = Failure.select()
    assert failure.arguments["args"] == [new.id, 1]
    assert alive.length(steps.AGENTS) == 1


def test_a_step_that_is_put_off_is_asked_for_then(start: Callable[..., Run], work: Work) -> None:
    run = start(task='```scripted\n{"default": {"error": "unavailable"}}\n```')
    work(1)
    (again,) = Step.of(of(run))
    assert again.due_at > base.now_ms()
    commands.pause(run.id)
    Outbox.delete().execute()
    commands.resume(run.id)
    work(1)
    (request,) = Outbox.select().where(Outbox.queue == steps.AGENTS)
    assert (request.body["args"], request.due_at) == ([again.id], again.due_at)
    assert Step.get_by_id(again.id).state == steps.QUEUED


def test_a_run_that_was_paused_or_cancelled_meanwhile_is_left_alone(
    start: Callable[..., Run], work: Work
) -> None:
    for change, state in ((commands.cancel, runs.CANCELLED), (paused, runs.PAUSED)):
        run = start()
        change(run.id)
        work()
        assert of(run).state == state
        assert not LlmCall.select().where(LlmCall.run_id == run.id).exists()


def paused(run_id: str) -> None:
    begun(run_id)
    commands.pause(run_id)


def test_a_new_run_whose_request_was_lost_is_asked_for_again_once(
    start: Callable[..., Run], work: Work
) -> None:
    run = start()
    Outbox.delete().execute()
    clock.sweep_requests()
    assert asked() == []  # it is too young to be missed
    Run.update(updated_at=Run.updated_at - clock.UNASKED_MS - 1).execute()
    clock.sweep_requests()
    clock.sweep_requests()
    assert asked() == [("runs.proceed", run.id)]
    work()
    assert of(run).state == runs.COMPLETED
