"""Who locks what first: boards and routines go before agents, whatever ends a run."""

from __future__ import annotations

import threading

import psycopg2
import pytest
from flask.testing import FlaskClient

from models.base import db
from models.runs import Run
from tasks import runs
from tests.patience import within
from tests.processes.product import until
from tests.web.boards import Crew
from workers.jobs import runs as run_jobs

BLOCKED = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"


@pytest.fixture
def crew(owner: FlaskClient) -> Crew:
    return Crew(owner)


def test_cancelling_a_run_asks_for_its_board_before_its_agent(crew: Crew, database: str) -> None:
    """Whoever ends another run of the board holds that and asks for the agent next."""
    run_id = crew.post(crew.add("One"), "execute", pipelineId="bugfix").json["run_id"]
    with db.connection_context():
        run_jobs.advance(run_id, 1)
    cancelling = threading.Thread(target=cancel, args=(run_id,))
    with psycopg2.connect(database) as other:
        cursor = other.cursor()
        cursor.execute("SELECT 1 FROM projects WHERE id = %s FOR UPDATE", (crew.id,))
        cancelling.start()
        until(lambda: waits(database), 5)
        cursor.execute("SET LOCAL lock_timeout TO 500")
        cursor.execute("SELECT 1 FROM agents FOR NO KEY UPDATE")
        other.rollback()
    within(5, cancelling.join)
    with db.connection_context():
        assert Run.get_by_id(run_id).state == "cancelled"


def cancel(run_id: str) -> None:
    with db.connection_context():
        runs.cancel(run_id)


def waits(database: str) -> bool:
    """Whether somebody waits for a lock."""
    with psycopg2.connect(database) as looking:
        cursor = looking.cursor()
        cursor.execute(f"{BLOCKED} AND datname = current_database()")
        (number,) = cursor.fetchone()
    return bool(number)
