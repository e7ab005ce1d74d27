"""Leases are kept alive beside busy threads and beside whoever holds the database up."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress

import psycopg2
import pytest

from models import base, leases, steps
from models.pipelines import Pipeline
from models.principals import Principal
from models.runs import Run
from models.steps import Step
from tasks import runs as commands
from tests.conftest import LEASE_MS
from tests.patience import within
from tests.processes.product import until
from workers.halting import LOST, Halt, Stopped
from workers.jobs import runs as run_jobs
from workers.jobs import steps as jobs
from workers.leases import DRAINING, Keeper

ANNA = Principal("usr_anna", "user")


@pytest.fixture(autouse=True)
def as_long_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other tests have leases that last for longer."""
    monkeypatch.setattr(steps, "LEASE_MS", LEASE_MS)
    monkeypatch.setattr("workers.leases.LEASE_SECONDS", LEASE_MS / 1000)


@pytest.fixture
def held(work: Callable[[], int]) -> list[Step]:
    """Two steps under leases of ours."""
    found = []
    for _ in range(2):
        form = {"task": "x", "model_override": "scripted/demo"}
        run = commands.start(ANNA, Pipeline.get_by_id("planning"), form)
        run_jobs.advance(run.id, run.attempt)
        (waiting,) = Step.of(Run.get_by_id(run.id))
        claimed = jobs.claim(waiting.id)
        assert claimed is not None
        found.append(claimed[1])
    return found


@contextmanager
def locked(database: str, step: Step) -> Iterator[None]:
    """Somebody holds the step's row in a transaction that does not go on."""
    connection = psycopg2.connect(database)
    try:
        connection.cursor().execute("SELECT 1 FROM steps WHERE id = %s FOR UPDATE", (step.id,))
        yield
        connection.rollback()
    finally:
        connection.close()


def until_of(step: Step) -> int:
    return int(Step.get_by_id(step.id).leased_until or 0)


def test_one_locked_step_does_not_hold_up_the_leases_of_the_others(
    held: list[Step], database: str
) -> None:
    first, second = held
    ours = {str(step.lease_id) for step in held}
    before = [until_of(step) for step in held]
    with locked(database, first):
        assert within(1, lambda: leases.renew(ours)) == (ours, {second.lease_id})
    assert until_of(first) == before[0]
    assert until_of(second) > before[1]
    assert leases.renew(ours) == (ours, ours)
    assert until_of(first) > before[0]


@pytest.mark.slow
def test_a_lease_that_could_not_be_prolonged_is_good_for_no_longer(
    held: list[Step], database: str
) -> None:
    first, second = held
    now, keeper = time.monotonic(), Keeper()
    with keeping(keeper, first) as one, keeping(keeper, second) as other, locked(database, first):
        assert one.valid_until is not None and other.valid_until is not None
        before = one.valid_until
        assert now + LEASE_MS / 1000 > before  # from before the claim on
        until(lambda: (other.valid_until or 0) > before, 5)
        assert one.valid_until == before
        until(lambda: one.stopped, 5)
        assert not other.stopped


@pytest.mark.slow
def test_a_connection_that_is_long_in_coming_costs_no_lease(held: list[Step]) -> None:
    """While one is opened, nobody of the process gets another one (Peewee's pool is locked)."""
    with keeping(Keeper(), held[0]) as halt:
        before = halt.valid_until or 0
        until(lambda: (halt.valid_until or 0) > before, 5)
        with base.db._pool_lock:
            time.sleep(LEASE_MS / 1000 + 1)
        assert not halt.stopped


@pytest.mark.slow
def test_nothing_goes_on_past_its_lease_while_the_database_says_nothing(
    held: list[Step], database: str
) -> None:
    with keeping(Keeper(), held[0]) as halt, silence(database):
        woken = threading.Event()
        with halt.waking(woken.set):
            assert woken.wait(LEASE_MS / 1000 + 1)
        assert halt.reason == LOST


@contextmanager
def silence(database: str) -> Iterator[None]:
    """No statement that prolongs leases comes back while the block lasts."""
    with psycopg2.connect(database) as connection:
        connection.cursor().execute("LOCK TABLE steps IN ACCESS EXCLUSIVE MODE")
        yield
        connection.rollback()


def keeping(keeper: Keeper, step: Step) -> AbstractContextManager[Halt]:
    return keeper.holding(str(step.lease_id), 60, step.valid_until)


def test_only_leases_that_are_still_ours_are_prolonged(held: list[Step]) -> None:
    first, second = held
    commands.cancel(first.run_id)
    ours = {second.lease_id}
    assert leases.renew({str(step.lease_id) for step in held}) == (ours, ours)
    assert leases.renew(set()) == (set(), set())


def test_a_lease_that_is_prolonged_at_the_last_moment_is_not_taken_away(
    held: list[Step], database: str
) -> None:
    """Between the look that found it silent and the lock of its run its worker is back."""
    step = held[0]
    Step.update(leased_until=1).where(Step.id == step.id).execute()
    recovering = threading.Thread(target=recover, args=(step,))
    with psycopg2.connect(database) as connection:
        connection.cursor().execute("SELECT 1 FROM runs WHERE id = %s FOR UPDATE", (step.run_id,))
        recovering.start()
        time.sleep(0.3)
        assert leases.renew({str(step.lease_id)})[1]
    recovering.join(20)
    assert Step.get_by_id(step.id).lease_id == step.lease_id


def recover(step: Step) -> None:
    with base.db.connection_context():
        jobs.recover(step.id)


@pytest.mark.slow
def test_leases_are_kept_while_eight_threads_compute(held: list[Step]) -> None:
    assert any(stays_held(held[0]) for _ in range(3))  # others work on this machine too


def stays_held(step: Step) -> bool:
    """Whether a step's lease lasts for longer than one that is not renewed."""
    with suppress(Stopped), keeping(Keeper(), step) as halt, computing(8):
        ends = time.monotonic() + LEASE_MS / 1000 + 1
        while until_of(step) > base.now_ms():
            halt.check()
            if time.monotonic() > ends:
                return True
            time.sleep(0.2)
    return False


@contextmanager
def computing(number: int) -> Iterator[None]:
    """So many threads have much to do while the block lasts."""
    stop = threading.Event()

    def compute() -> None:
        while not stop.is_set():
            sum(number * number for number in range(2_000))

    threads = [threading.Thread(target=compute) for _ in range(number)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def test_a_worker_that_was_not_heard_of_in_time_begins_nothing_more() -> None:
    halt = Halt()
    halt.check()
    halt.valid_until = time.monotonic() + 60
    halt.check()
    halt.valid_until = time.monotonic() - 0.001
    with pytest.raises(Stopped):
        halt.check()
    assert halt.reason == LOST


def test_a_process_that_goes_away_lets_an_act_come_to_its_end_and_begins_no_other() -> None:
    keeper = Keeper()
    ended = threading.Event()
    with keeper.holding("lease", 60, time.monotonic() + 60) as halt:
        drained = threading.Thread(target=lambda: (keeper.drain(30), ended.set()))
        drained.start()
        while not halt.closing:
            time.sleep(0.01)
        halt.check()  # the act under way goes on
        assert not halt.stopped
        with pytest.raises(Stopped, match=DRAINING):
            halt.begin()
    drained.join(30)
    assert ended.is_set()  # nobody waits for more than what is under way


def test_an_act_that_does_not_end_in_time_is_called_off() -> None:
    keeper = Keeper()
    with keeper.holding("lease", 60, time.monotonic() + 60) as halt:
        keeper.drain(0.2)
        with pytest.raises(Stopped, match=DRAINING):
            halt.check()
