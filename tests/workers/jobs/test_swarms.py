"""Conducting swarms: by many workers at once, dying ones among them, and with requests lost."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest
from flask.testing import FlaskClient

from models import base
from models.outbox import Outbox
from models.projects import Project
from models.runs import Run
from models.steps import Step
from models.swarms import Swarm, SwarmTask
from tasks import runs as run_commands
from tasks import swarms as commands
from tests.tasks.ordering import DIAMOND, launched, states, task
from tests.web.boards import Crew
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


def test_boards_are_locked_in_one_order_in_whatever_order_their_tasks_are(
    owner: FlaskClient,
) -> None:
    """Two swarms at the same two boards would otherwise wait for each other."""
    first, second = sorted((Crew(owner), Crew(owner)), key=lambda crew: crew.id)
    orders = [
        task(key, project_id=crew.id, task_id=crew.add(key))
        for key, crew in (("A", second), ("B", first))
    ]
    form = {"agent_id": "yukihiro", "tasks": orders}
    swarm_id = owner.post("/v1/swarm/execute", json=form).json["swarm_id"]

    def advance() -> None:
        with base.db.connection_context():
            jobs.advance(swarm_id)

    advancing = threading.Thread(target=advance)
    with base.db.connection_context():
        with base.db.atomic():
            Project.locked(first.id)
            advancing.start()
            while advancing.is_alive() and not _waited_for():
                time.sleep(0.01)
            Project.locked(second.id)  # which is not held by whoever waits for the first one
        advancing.join()
        assert states(Swarm.get_by_id(swarm_id)) == {"A": "running", "B": "running"}


def _waited_for() -> bool:
    """Whether somebody waits for what this connection holds."""
    waiting = """
        SELECT count(*) FROM pg_locks
        WHERE NOT granted AND pg_backend_pid() = ANY(pg_blocking_pids(pid))
    """
    return bool(base.db.execute_sql(waiting).fetchone()[0])


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
