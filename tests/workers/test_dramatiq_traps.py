"""The seventeen traps of Dramatiq on Redis, each with our answer, on real servers."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import dramatiq
import pytest
import redis
from dramatiq.middleware import Middleware

from models import base, failures, outbox, processes
from models.config import Misconfigured, Settings
from models.failures import Failure
from models.outbox import Outbox
from models.pipelines import Pipeline
from models.runs import Run
from tasks import QUEUES, TASKS, Task, runs
from tasks import failures as failure_tasks
from tasks.steps import execute
from tests.models.spenders import ANNA
from tests.patience import within
from tests.processes.product import DJINN, until
from workers import bell, boot, broker
from workers.bell import BellConsumer
from workers.broker import BellBroker, broker_url
from workers.local.valkey import valkey
from workers.relay import Relay
from workers.serving import BellWorker, Pools, refuse_eviction

pytestmark = pytest.mark.slow  # real time that passes

QUEUE = "short"
Open = Callable[[], BellBroker]
QUIET = "redis://127.0.0.1:6379/0"


@pytest.fixture
def opened(stream: str) -> Iterator[Open]:
    """Makes brokers, each of which stands for a process."""
    with ExitStack() as stack:
        yield lambda: stack.enter_context(closing(BellBroker(stream)))


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[BellBroker]:
    """A broker whose server nobody else asks anything."""
    with valkey(tmp_path) as url, closing(BellBroker(url)) as made:
        yield made


@pytest.fixture
def jobs() -> Iterator[list[str]]:
    """What the task `trap` did; it does not exist outside of these tests."""
    done: list[str] = []

    def trap(what: str) -> None:
        if what.startswith("raise"):
            raise RuntimeError(what)
        time.sleep({"long": 30, "longer than its limit": 2.5}.get(what, 0))
        done.append(what)

    TASKS["trap"] = Task("trap", QUEUE, trap)
    broker.PERFORMERS["trap"] = trap
    yield done
    del TASKS["trap"], broker.PERFORMERS["trap"]


def ask(asked: BellBroker, *what: str, queue: str = QUEUE, name: str = "trap") -> None:
    asked.send(queue, [{"task": name, "args": [each], "kwargs": {}} for each in what])


def take(consumer: BellConsumer) -> str:
    while (message := next(consumer)) is None:
        pass
    return str(message.args[0])


def died(asked: BellBroker) -> None:
    """As after kill -9: no more heartbeats, for longer than we wait for one."""
    asked.client.zadd(asked.heartbeats, {asked.process: time.time() - broker.GONE_SECONDS - 1})


def test_orphans_come_back_by_the_first_look_not_by_luck(opened: Open) -> None:
    """D1."""
    dead, alive = opened(), opened()
    ask(dead, "a", "b", name=execute.name)
    doomed = dead.consume(QUEUE, prefetch=2)
    assert [take(doomed), take(doomed)] == ["a", "b"]
    died(dead)
    heir = alive.consume(QUEUE, prefetch=8)
    assert [take(heir), take(heir)] == ["a", "b"]


def test_orphans_wait_with_an_heir_while_postgres_is_away(
    opened: Open, database: str, stream: str
) -> None:
    """D1: and if the heir dies too, the next one looks after them."""
    dead, alive = opened(), opened()
    ask(dead, "a")
    take(dead.consume(QUEUE, prefetch=1))
    died(dead)
    base.db.close_all()
    base.connect("postgresql://nobody@127.0.0.1:1/nothing", 1)
    assert alive.put_back_orphans() == 1
    assert alive.client.zcard(alive.heartbeats) == 1
    assert alive.put_back_orphans() == 0  # the heir is not dead yet
    base.connect(database, 4)
    (heir,) = alive.client.zrange(alive.heartbeats, 0, -1)
    alive.client.zadd(alive.heartbeats, {heir: 1})
    assert alive.put_back_orphans() == 1
    with base.db.connection_context():
        assert [row.error for row in Failure.select()] == [broker.LOST]
    assert alive.client.llen(alive.holding(QUEUE, heir.decode())) == 0
    assert alive.client.zcard(alive.heartbeats) == 0


def test_a_retry_is_a_row_so_a_refusing_redis_cannot_lose_it(
    database: str, jobs: list[str]
) -> None:
    """D2: of Dramatiq's middleware, which swallows a retry that Redis refuses, nothing is left."""
    assert not any(isinstance(each, Middleware) for each in BellBroker("redis://x/0").middleware)
    with pytest.raises(RuntimeError):
        broker.perform(QUEUE, "trap", "raise it")
    (row,) = Failure.select()
    assert (row.task, row.tries, row.arguments) == ("trap", 1, {"args": ["raise it"], "kwargs": {}})
    assert row.due_at > row.failed_at


def test_a_paused_worker_and_its_heir_both_hold_a_job_and_only_the_heir_may_acknowledge_it(
    opened: Open,
) -> None:
    """D3: both may finish; what they write is fenced by the lease, see tests of jobs/steps."""
    paused, heir = opened(), opened()
    ask(paused, "a", name=execute.name)
    first, second = paused.consume(QUEUE, prefetch=1), heir.consume(QUEUE, prefetch=1)
    woken = next(first)
    assert woken is not None
    died(paused)
    heir.put_back_orphans()
    assert take(second) == "a"
    first.ack(woken)
    next(first)  # it goes along with the next fetch
    assert heir.client.llen(heir.holding(QUEUE)) == 1


def test_no_master_stops_the_siblings_of_a_dead_process(
    stream: str, database: str, settings: Settings
) -> None:
    """D4: one process per line of the Procfile; a sibling of one that is killed lives and works."""
    command = [DJINN, "worker", "--queues", QUEUE]
    dead, sibling = [subprocess.Popen(command, start_new_session=True) for _ in range(2)]
    try:
        until(lambda: processes.alive() == 2)
        dead.kill()
        dead.wait()
        run = runs.start(ANNA, Pipeline.get_by_id("planning"), {"task": "x"})
        runs.advance.enqueue(run.id, run.attempt)
        Relay(stream, BellBroker(stream)).pass_on()
        until(lambda: Run.get_by_id(run.id).state == "running", 20)
        assert sibling.poll() is None
    finally:
        sibling.terminate()
        assert sibling.wait(20) == 0


def test_a_poisonous_job_is_given_up_after_some_tries_and_its_row_stays(
    database: str, jobs: list[str]
) -> None:
    """D5, D14."""
    for _ in range(failures.MOST_TRIES):
        with pytest.raises(RuntimeError):
            broker.perform(QUEUE, "trap", "raise it")
    (row,) = Failure.select()
    assert (row.tries, row.due_at) == (failures.MOST_TRIES, None)
    assert failures.due() == []


def test_a_job_that_kills_its_process_is_tried_again_on_its_schedule_only(
    database: str, stream: str, opened: Open, jobs: list[str]
) -> None:
    """D5: whoever sees to what a dead process held writes a failure down."""
    alive = opened()
    relay = Relay(stream, alive)
    ask(alive, "kills")
    for tries in range(1, failures.MOST_TRIES + 1):
        doomed = opened()
        take(doomed.consume(QUEUE, prefetch=1))
        died(doomed)
        assert alive.put_back_orphans() == 1
        assert alive.length(QUEUE) == 0  # nobody gets it at once
        row = Failure.get()
        assert (row.task, row.tries, row.error) == ("trap", tries, broker.LOST)
        failure_tasks.ask_again()
        assert relay.pass_on() == 0  # it is not time
        Failure.update(due_at=0).where(Failure.due_at.is_null(False)).execute()
        failure_tasks.ask_again()
        relay.pass_on()
    assert row.due_at is None
    assert alive.length(QUEUE) == 0


def test_what_fails_again_and_again_is_not_asked_for_by_sweeps_besides(
    database: str, jobs: list[str]
) -> None:
    """D5."""
    trap = TASKS["trap"]
    for _ in range(failures.HOPELESS):
        trap.enqueue_once("k", "raise it")
        assert base.db.execute_sql("DELETE FROM outbox").rowcount == 1
        with pytest.raises(RuntimeError):
            broker.perform(QUEUE, "trap", "raise it")
    trap.enqueue_once("k", "raise it")
    trap.enqueue_once("l", "another")
    assert base.db.execute_sql("DELETE FROM outbox").rowcount == 1
    long_ago = base.now_ms() - 1000 * failures.LONGEST_WAIT - 1
    Failure.update(due_at=None, failed_at=long_ago).execute()  # given up; but perhaps by now ...
    trap.enqueue_once("k", "raise it")
    assert base.db.execute_sql("DELETE FROM outbox").rowcount == 1


def test_bytes_that_nobody_can_read_do_not_stop_the_queue(opened: Open) -> None:
    asked = opened()
    asked.client.rpush(asked.waiting(QUEUE), b"\x00garbage")
    ask(asked, "a")
    assert take(asked.consume(QUEUE, prefetch=4)) == "a"


def test_stopping_takes_seconds_and_gives_back_what_was_not_begun(
    opened: Open, jobs: list[str], database: str
) -> None:
    """D6: platforms kill after 30 s what Dramatiq would wait for ten minutes."""
    assert boot.DRAIN_MS / 1000 < boot.LIMIT_SECONDS < 20
    asked = opened()

    def come_and_leave() -> None:
        asked.client.flushdb()
        ask(asked, "long", "x", "y", queue="agents")
        worker = BellWorker(opened(), "agents", 1)
        worker.start()
        until(lambda: asked.client.llen(asked.waiting("agents")) == 2)
        worker.stop(500)

    within(5, come_and_leave)
    assert asked.client.llen(asked.waiting("agents")) == 2
    assert asked.client.zcard(asked.heartbeats) == 1  # it still holds the long one: to be put back


def test_stopping_while_redis_is_away_lets_jobs_come_to_their_end(
    tmp_path: Path, jobs: list[str], database: str
) -> None:
    """D6: what nobody has begun comes back with the end of the heartbeat."""
    with valkey(tmp_path) as url:
        worker = BellWorker(BellBroker(url), QUEUE, 1)
        worker.start()
        with closing(BellBroker(url)) as asked:
            ask(asked, "longer than its limit", "x", "y")
        until(lambda: worker.work_queue.qsize() > 0)
    worker.stop(20_000)
    assert jobs[0] == "longer than its limit"


def test_no_time_limit_and_no_retries_of_dramatiq_bite_a_job(
    opened: Open, jobs: list[str], database: str
) -> None:
    """D7: the deadline is the job's own: `keeper.holding` of workers.leases."""
    asked, worker = opened(), BellWorker(opened(), QUEUE, 2)
    assert asked.middleware == worker.broker.middleware == []
    limits = {"time_limit": 10, "max_retries": 5, "min_backoff": 1}
    for what in ("longer than its limit", "raise it"):
        bitten: dramatiq.Message[None] = dramatiq.Message(QUEUE, "trap", (what,), {}, limits)
        asked.client.rpush(asked.waiting(QUEUE), bitten.encode())
    worker.start()
    until(lambda: jobs == ["longer than its limit"])
    worker.stop(2000)
    assert [row.tries for row in Failure.select()] == [1]
    assert asked.length(QUEUE) == 0


def test_long_jobs_are_not_hoarded_beyond_the_threads(opened: Open) -> None:
    """D8."""
    assert [BellWorker(opened(), queue, 8).queue_prefetch for queue in QUEUES] == [32, 8, 8, 8, 8]
    asked = opened()
    ask(asked, "a", "b", "c", queue="agents")
    consumer = asked.consume("agents", prefetch=1)
    assert take(consumer) == "a"
    assert asked.client.llen(asked.waiting("agents")) == 2


def test_delays_of_any_length_live_in_postgres(database: str) -> None:
    """D9: Dramatiq's end after seven days."""
    year = 365 * 86_400_000
    execute.enqueue_at(base.now_ms() + year, "exec_1")
    with base.db.atomic():
        assert outbox.take(10) == []
    Outbox.update(due_at=Outbox.due_at - year).execute()
    with base.db.atomic():
        assert [body["args"] for _, body in outbox.take(10)] == [["exec_1"]]


def test_an_idle_worker_begins_at_once(opened: Open, jobs: list[str], database: str) -> None:
    """D10."""
    worker, asked = BellWorker(opened(), QUEUE, 2), opened()
    worker.start()
    time.sleep(1.5)  # idle: sitting and listening

    def be_served() -> None:
        jobs.clear()
        ask(asked, "a")
        until(lambda: jobs == ["a"], every=0.001)

    within(0.2, be_served)  # milliseconds; the bench says how many
    worker.stop(2000)


def test_nothing_searches_the_keys_and_the_streams_live_elsewhere(alone: BellBroker) -> None:
    """D11."""
    for number in range(50):
        alone.client.set(f"other:{number}", "x")
    alone.client.config_resetstat()
    alone.put_back_orphans()
    assert not any("keys" in name or "scan" in name for name in alone.client.info("commandstats"))
    assert broker_url(QUIET) != QUIET


def test_an_idle_queue_costs_about_one_command_a_second(
    alone: BellBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """D12."""
    monkeypatch.setattr(bell, "BEAT_SECONDS", 600)  # signs of life apart
    consumer = alone.consume(QUEUE, prefetch=8)
    next(consumer)
    next(consumer)  # from now on it listens
    alone.client.config_resetstat()
    ends = time.monotonic() + 2.2
    while time.monotonic() < ends:
        assert next(consumer) is None
    stats = alone.client.info("commandstats")
    calls = {name: told["calls"] for name, told in stats.items() if "config" not in name}
    assert sum(calls.values()) <= 4, calls


def test_a_worker_that_hears_nothing_though_redis_serves_it_is_deaf(
    opened: Open, database: str
) -> None:
    """D13."""
    asked, worker = opened(), BellWorker(opened(), QUEUE, 1)
    worker.start()
    until(lambda: worker.consumer is not None)
    assert not worker.deaf(5)
    asked.client.delete(asked.waiting(QUEUE))
    asked.client.set(asked.waiting(QUEUE), "a string: every fetch is an error now")
    until(lambda: worker.deaf(2))
    asked.client.delete(asked.waiting(QUEUE))
    until(lambda: not worker.deaf(2))  # and it hears again by itself
    worker.stop(2000)


def test_a_deaf_process_ends_and_tells_its_platform_to_begin_another(
    opened: Open, database: str, settings: Settings
) -> None:
    """D13."""
    asked = opened()
    deaf = subprocess.Popen([DJINN, "worker", "--queues", QUEUE], start_new_session=True)
    try:
        until(lambda: processes.alive() == 1)
        asked.client.delete(asked.waiting(QUEUE))
        asked.client.set(asked.waiting(QUEUE), "a string: every fetch is an error now")
        assert deaf.wait(120) == 1
    finally:
        deaf.kill()
        deaf.wait()
    assert processes.alive() == 0  # it has said farewell


def test_a_failed_job_is_tried_again_and_its_row_goes_with_the_success(
    database: str, jobs: list[str], work: Callable[[], int]
) -> None:
    """D14: no dead letters that vanish after a week; a failure is a row until it is mended."""
    boot.load_performers()
    base.db.execute_sql("SELECT 1")
    failures.note(QUEUE, "trap", {"args": ["fine now"], "kwargs": {}}, "RuntimeError()")
    Failure.update(due_at=0).execute()
    failure_tasks.ask_again()
    assert work() == 1
    assert jobs == ["fine now"]
    assert Failure.select().count() == 0


def test_a_failed_job_is_tried_again_on_the_queue_where_it_failed(
    opened: Open, jobs: list[str], database: str
) -> None:
    """D14: what executors failed at is not for the hands of agents."""
    worker = BellWorker(opened(), "executors", 1)
    worker.start()
    ask(opened(), "raise it", queue="executors")
    until(lambda: Failure.select().count() == 1)
    worker.stop(2000)
    Failure.update(due_at=0).execute()
    failure_tasks.ask_again()
    with base.db.atomic():
        assert [queue for queue, _ in outbox.take(10)] == ["executors"]


def test_a_redis_that_evicts_requests_is_refused(stream: str) -> None:
    """D15."""
    refuse_eviction(stream)
    with redis.Redis.from_url(stream) as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
        try:
            with pytest.raises(Misconfigured, match="noeviction"):
                refuse_eviction(stream)
        finally:
            client.config_set("maxmemory-policy", "noeviction")


def test_what_redis_forgot_is_not_needed_to_go_on(opened: Open) -> None:
    """D15; what asks again for lost work is in test_sweeps."""
    asked = opened()
    consumer = asked.consume(QUEUE, prefetch=4)
    ask(asked, "a", "b")
    held = next(consumer)
    assert held is not None
    asked.client.flushdb()
    consumer.ack(held)  # of something that is no longer there
    ask(asked, "c")
    assert [take(consumer), take(consumer)] == ["b", "c"]


def test_a_request_is_sent_only_when_its_transaction_committed(database: str) -> None:
    """D16."""
    with pytest.raises(RuntimeError), base.db.atomic():
        execute.enqueue("exec_1")
        raise RuntimeError("rolled back")
    with base.db.atomic():
        assert outbox.take(10) == []


def test_no_heartbeat_of_a_gone_worker_stays(database: str, stream: str, opened: Open) -> None:
    """D17."""
    dead, alive = opened(), opened()
    dead.exchange(QUEUE, 0, [])
    died(dead)
    next(alive.consume(QUEUE, prefetch=1))
    assert alive.client.zrange(alive.heartbeats, 0, -1) == [alive.process.encode()]
    gone = processes.register("worker", [QUEUE])
    gone.seen_at = 0
    gone.save()
    processes.heartbeat(processes.register("worker", [QUEUE]))
    assert processes.Process.select().count() == 1


def test_agents_that_are_busy_do_not_starve_executors_in_the_same_process(
    stream: str, opened: Open, jobs: list[str], database: str
) -> None:
    pools, asked = Pools(stream, ["agents", "executors"], 1), opened()
    ask(asked, "long", "long", queue="agents")
    pools.start()
    until(lambda: asked.client.llen(asked.waiting("agents")) == 1)
    ask(asked, "mine", queue="executors")
    until(lambda: jobs == ["mine"])
    pools.stop(300)


def test_a_task_of_a_newer_version_leaves_a_row_and_is_not_lost(
    database: str, opened: Open
) -> None:
    worker = BellWorker(opened(), QUEUE, 1)
    worker.start()
    opened().send(QUEUE, [{"task": "tomorrow.shine", "args": [], "kwargs": {}}])
    until(lambda: Failure.select().count() == 1)
    worker.stop(2000)
    assert Failure.get().task == "tomorrow.shine"


def test_every_trap_is_named_by_a_test() -> None:
    """D1 to D17 of what Dramatiq's defaults do on Redis."""
    told = [
        each.__doc__ or ""
        for name, each in globals().items()
        if name.startswith("test_") and each is not test_every_trap_is_named_by_a_test
    ]
    named = set(re.findall(r"\bD\d+\b", " ".join(told)))
    assert named >= {f"D{number}" for number in range(1, 18)}
