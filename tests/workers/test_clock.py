from __future__ import annotations

import time

import psycopg2
import pytest

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
