"""What the sweep asks again for: work whose request was lost, and no flood of what waits anyway."""

from __future__ import annotations

import pytest

from models import base
from models.runs import Run
from models.steps import Step
from models.swarms import Swarm
from tests.beginning import keep_waiting
from tests.tasks.ordering import launched, task
from workers import clock
from workers.broker import BellBroker
from workers.jobs import runs as run_jobs
from workers.jobs import swarms as jobs
from workers.relay import Relay

QUEUE = "executors"


class Redis:
    """A Redis that nobody takes anything from, and the relay that fills it."""

    def __init__(self, url: str) -> None:
        self.broker = BellBroker(url)
        self.relay = Relay(url, self.broker)

    def hear(self) -> int:
        """Let the relay pass on what was asked; gives how many executors' jobs wait."""
        while self.relay.pass_on():
            continue
        return self.broker.length(QUEUE)

    def sweep(self, times: int = 1) -> int:
        for _ in range(times):
            clock.sweep_requests(self.broker.length)
            clock.sweep_swarms()
            self.hear()
        return self.broker.length(QUEUE)


@pytest.fixture(params=["new", "begun"])
def waiting(database: str, stream: str, request: pytest.FixtureRequest) -> Redis:
    """Eight executors, new or begun, wait in Redis for a worker, and have for a second."""
    swarm = launched(*(task(f"t{number}") for number in range(8)), max_concurrent=8)
    jobs.advance(swarm.id)
    if request.param == "begun":
        keep_waiting()
        for run in Run.select():
            run_jobs.advance(run.id, 1)
    made = Redis(stream)
    assert made.hear() == 8
    for model in (Run, Step):
        model.update(updated_at=model.updated_at - 1_001).execute()
    return made


def test_what_waits_in_redis_for_a_busy_worker_is_not_asked_for_again(waiting: Redis) -> None:
    assert waiting.sweep(times=20) == 8


def test_what_redis_forgot_is_asked_for_at_the_next_sweep(waiting: Redis) -> None:
    waiting.sweep(times=20)
    waiting.broker.client.flushdb()
    assert waiting.sweep() == 8
    waiting.broker.client.rpop(waiting.broker.waiting(QUEUE), 3)
    assert waiting.sweep(times=20) <= 16


def test_what_a_process_took_and_leaves_alone_is_asked_for_again_by_others(
    waiting: Redis, stream: str
) -> None:
    """One that was stopped or killed just then: its heartbeat would be missed much later."""
    assert len(BellBroker(stream).exchange(QUEUE, 8, ())) == 8
    assert waiting.sweep() == 8


def test_what_is_swept_for_waits_in_redis_once_however_often_it_is_asked(waiting: Redis) -> None:
    """Also where nobody knows how much is in Redis, and while nobody takes anything there."""
    for _ in range(20):
        clock.sweep_requests()
        waiting.hear()
    assert waiting.hear() == 16  # what was asked at first, and each once more


def test_a_request_that_was_asked_before_any_sweep_stays_where_it_is(waiting: Redis) -> None:
    before = waiting.broker.client.lrange(waiting.broker.waiting(QUEUE), 0, -1)
    waiting.sweep(times=3)
    assert waiting.broker.client.lrange(waiting.broker.waiting(QUEUE), 0, -1) == before


def test_a_merge_is_asked_again_ever_more_rarely(database: str, stream: str) -> None:
    swarm = launched(task("A", task_id="T"), task("B", task_id="T"))
    Swarm.get_by_id(swarm.id).move("running").move("merging")
    redis = Redis(stream)
    asked: list[int] = []
    for seconds in range(0, 600, 10):
        now = base.database_ms() - 100  # a wait is over when more than that has passed
        gone = {"updated_at": now - seconds * 1000}
        if asked:
            gone["asked_at"] = now - (seconds - asked[-1]) * 1000
        Swarm.update(**gone).where(Swarm.id == swarm.id).execute()
        before = redis.hear()
        if redis.sweep() > before:
            asked.append(seconds)
            redis.broker.client.flushdb()
    assert asked == [60, 120, 240, 480]
