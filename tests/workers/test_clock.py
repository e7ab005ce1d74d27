from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from urllib.parse import urlsplit

import peewee
import psycopg2
import pytest

from models import base, outbox, processes
from models.errors import Conflict
from models.outbox import Outbox
from models.pipelines import Pipeline
from models.principals import Principal
from models.processes import Process
from models.runs import Run
from tasks import runs
from tests.patience import within
from tests.processes.chaos.proxy import Proxy
from tests.processes.product import until
from workers import clock

ANNA = Principal("usr_anna", "user")


@pytest.fixture
def cursors(database: str):
    connections = [psycopg2.connect(database) for _ in range(2)]
    for connection in connections:
        connection.autocommit = True
    yield [connection.cursor() for connection in connections]
    for connection in connections:
        connection.close()


def test_a_leader_that_was_stopped_loses_the_lock_to_the_one_that_stands_by(
    cursors,
) -> None:
    leading, standing_by = cursors
    assert clock._leads(leading)
    assert not clock._leads(standing_by)
    clock._depose_silent(standing_by, 60.0)
    assert not clock._leads(standing_by)  # it spoke just now
    time.sleep(1.1)
    clock._depose_silent(standing_by, 1.0)
    until(lambda: clock._leads(standing_by))  # a connection that is ended takes its time to go
    with pytest.raises(psycopg2.OperationalError):
        leading.execute("SELECT 'leading'")


def test_who_stands_by_leads_a_moment_after_the_leader_is_gone(database: str, stream: str) -> None:
    """Nobody hands work on meanwhile."""
    heir = clock.Clock(database, stream)

    def stand_by(connection, me: Process) -> None:
        with base.db.connection_context():
            heir._stand_by(connection.cursor(), me)

    def succeed() -> None:
        first, second = psycopg2.connect(database), psycopg2.connect(database)
        first.autocommit = second.autocommit = True
        with closing(second):
            assert clock._leads(first.cursor())
            me = processes.register("clock")
            began = Process.get_by_id(me.id).seen_at
            waiting = threading.Thread(target=stand_by, args=(second, me))
            waiting.start()
            until(lambda: Process.get_by_id(me.id).seen_at > began, every=0.01)
            first.close()  # just after it has looked
            waiting.join()

    with base.db.connection_context():
        within(0.7, succeed)


@contextmanager
def ticking(database: str, redis_url: str) -> Iterator[clock.Clock]:
    """A clock that leads."""
    made, stopping = clock.Clock(database, redis_url), threading.Event()
    thread = threading.Thread(target=made.run, args=(stopping,))
    thread.start()
    try:
        yield made
    finally:
        stopping.set()
        outbox.ring()
        thread.join()


def test_while_redis_is_away_the_clock_does_all_else(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clock, "BEAT_SECONDS", 0.1)
    run = runs.start(ANNA, Pipeline.get_by_id("planning"), {"task": "Plan it"})
    run.move("running")
    Run.update(updated_at=1).where(Run.id == run.id).execute()
    with ticking(database, "redis://127.0.0.1:1/0"):
        until(lambda: "runs.advance" in {row.body.get("task") for row in Outbox.select()})
        now = base.database_ms()
        until(lambda: Process.get().seen_at > now)


def test_the_clock_hands_on_what_waited_for_redis(database: str, stream: str) -> None:
    runs.advance.enqueue("run_1", 1)
    with Proxy(urlsplit(stream).port or 0) as cable:
        cable.fall_silent()
        with ticking(database, f"{cable.through(stream)}?socket_timeout=0.4") as made:
            until(lambda: made._away_until > 0)
            assert Outbox.select().exists()
            cable.speak()
            until(lambda: not Outbox.select().exists())


def test_a_request_that_commits_wakes_the_clock(
    database: str, stream: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clock, "PERIODIC", ())
    for name in ("IDLE_SECONDS", "SWEPT_SECONDS", "BEAT_SECONDS"):
        monkeypatch.setattr(clock, name, 600)  # nothing else does
    with ticking(database, stream):
        until(lambda: Process.select().exists())
        for number in range(3):
            time.sleep(0.3)  # it has gone to sleep
            runs.advance.enqueue(f"run_{number}", 1)
            until(lambda: not Outbox.select().exists())


def test_a_row_that_breaks_periodic_work_does_not_stop_the_clock() -> None:
    def broken_by(error: Exception) -> clock.Periodic:
        def act() -> None:
            raise error

        return clock.Periodic(1, act)

    for of_the_row in (Conflict(), ValueError("a strange moment"), peewee.DataError("too large")):
        clock.attempt(broken_by(of_the_row))
    with pytest.raises(peewee.InterfaceError):
        clock.attempt(broken_by(peewee.InterfaceError("the connection is closed")))


def test_a_database_that_is_away_is_heard_of_amid_periodic_work(database: str) -> None:
    hang_up = "SELECT pg_terminate_backend(pg_backend_pid())"
    with base.db.connection_context(), pytest.raises(peewee.OperationalError):
        clock.attempt(clock.Periodic(1, lambda: base.db.execute_sql(hang_up)))


def test_a_lock_that_another_holds_keeps_one_duty_waiting_and_the_clock_leads_on(
    database: str, stream: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    leaders: list[object] = []

    def wait_in_vain() -> None:
        base.db.execute_sql("SET lock_timeout TO 20; DELETE FROM letters")

    def look() -> None:
        held = """
            SELECT pid FROM pg_locks JOIN pg_database ON pg_database.oid = database
            WHERE locktype = 'advisory' AND objid = %s AND granted AND datname = current_database()
        """
        leaders.append(base.db.execute_sql(held, (clock.LEADER,)).fetchone())

    duties = (clock.Periodic(600, wait_in_vain), clock.Periodic(0, look))
    monkeypatch.setattr(clock, "PERIODIC", duties)
    with closing(psycopg2.connect(database)) as holder:
        holder.cursor().execute("LOCK TABLE letters")
        with ticking(database, stream):
            until(lambda: len(leaders) > 1)
    assert len(set(leaders)) == 1


def test_a_clock_gives_a_database_up_that_vanished_without_a_word(
    database: str, stream: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing on this machine vanishes so: what libpq was told has to do."""
    links = []

    def look(made: clock.Clock, connection: psycopg2.extensions.connection, me: object) -> None:
        links.append(connection.info.dsn_parameters)
        made.stopping.set()

    monkeypatch.setattr(clock.Clock, "_work", look)
    with ticking(database, stream):
        until(lambda: bool(links))
    assert links[0]["tcp_user_timeout"] == "10000"
