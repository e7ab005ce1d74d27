from __future__ import annotations

import threading
import time
from contextlib import closing

import peewee
import psycopg2
import pytest

from models import base, processes
from models.errors import Conflict
from models.processes import Process
from tests.patience import within
from tests.processes.product import until
from workers import clock


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


def test_a_row_that_breaks_periodic_work_does_not_stop_the_clock() -> None:
    def broken_by(error: Exception) -> clock.Periodic:
        def act() -> None:
            raise error

        return clock.Periodic(1, act)

    for of_the_row in (Conflict(), ValueError("a strange moment"), peewee.DataError("too large")):
        clock.attempt(broken_by(of_the_row))
    with pytest.raises(peewee.OperationalError):
        clock.attempt(broken_by(peewee.OperationalError("the server is away")))
