"""Conducting swarms: by many workers at once, dying ones among them, and with requests lost."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from models import base
from models.outbox import Outbox
from models.runs import Run
from models.steps import Step
from models.swarms import Swarm, SwarmTask
from tasks import runs as run_commands
from tasks import swarms as commands
from tests.tasks.ordering import DIAMOND, launched, states, task
from workers.jobs import runs as run_jobs
from workers.jobs import steps as step_jobs
from workers.jobs import swarms as jobs

Work = Callable[..., int]


@pytest.fixture
def launch(database: str) -> Callable[..., Swarm]:
    return launched


def test_many_advances_at_once_start_each_task_once(launch: Callable[..., Swarm]) -> None:
    swarm = launch(*(task(f"t{number}") for number in range(6)), max_concurrent=4)

    def advance() -> None:
        with base.db.connection_context():
            jobs.advance(swarm.id)

    threads = [threading.Thread(target=advance) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert list(states(swarm).values()).count("running") == 4
    assert Run.select().count() == 4


def test_an_advance_that_dies_before_its_end_leaves_nothing(
    launch: Callable[..., Swarm],
) -> None:
    swarm = launch(*DIAMOND)
    with pytest.raises(RuntimeError), base.db.atomic():
        jobs.advance(swarm.id)
        raise RuntimeError("the process dies here")
    assert Run.select().count() == 0
    jobs.advance(swarm.id)
    assert Run.select().count() == 2


def test_lost_requests_are_asked_again(launch: Callable[..., Swarm], work: Work) -> None:
    def lose() -> None:
        base.db.execute_sql("DELETE FROM outbox")

    def asked() -> list[str]:
        commands.sweep(0)
        rows = Outbox.select().where(Outbox.queue != "events").order_by(Outbox.id)
        return [row.body["task"] for row in rows]

    swarm = launch(task("A", task_id="T"), task("B", task_id="T"))
    lose()
    base.db.execute_sql("UPDATE swarms SET updated_at = 1")
    assert asked() == ["swarms.advance"]
    lose()
    jobs.advance(swarm.id)
    assert "swarms.advance" not in asked()
    for each in SwarmTask.of(swarm):
        run_commands.cancel(each.run_id)
    lose()
    assert asked() == ["swarms.advance"]
    lose()
    again_running = launch(task("A"))
    jobs.advance(again_running.id)
    commands.cancel(again_running.id)
    lose()
    base.db.execute_sql("UPDATE runs SET completed_at = 2 ^ 50 WHERE completed_at IS NOT NULL")
    assert asked() == ["swarms.stop_executors"]
    work()
    assert {run.state for run in Run.select()} == {"cancelled"}


def test_executors_are_not_bound_to_the_hands_of_their_agent(launch: Callable[..., Swarm]) -> None:
    swarm = launch(*(task(f"t{number}") for number in range(5)), max_concurrent=5)
    jobs.advance(swarm.id)
    for each in SwarmTask.of(swarm):
        run_jobs.advance(each.run_id, 1)
    claimed = [step_jobs.claim(step.id) for step in Step.select()]
    assert len(claimed) == 5
    assert all(claimed)
