"""What model calls add up to, while many are written at once."""

from __future__ import annotations

import importlib
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from models import tallies
from models.base import db
from models.llm_calls import LlmCall
from models.spans import MONTH
from models.tallies import RunTally, Tally
from tasks import runs
from tests.models.callers import call
from tests.models.spenders import new_run

HOUR = 3_600_000


def test_calls_at_once_are_all_counted_while_runs_are_deleted(database: str) -> None:
    """All share rows of tallies, in the hours of which they come in opposite orders."""
    doomed = [new_run() for _ in range(4)]
    for run in doomed:
        for hour in range(6):
            call("0.5", hour * HOUR, run_id=run.id, owner_id="usr_owner")

    def write(seat: int) -> None:
        with db.connection_context():
            for number in range(25):
                call("0.01", ((number * (-1) ** seat) % 6) * HOUR)

    def delete(run: Any) -> None:
        with db.connection_context():
            runs.delete(run.id, force=True)

    with ThreadPoolExecutor(12) as threads:
        asked = [threads.submit(write, seat) for seat in range(6)]
        asked += [threads.submit(delete, run) for run in doomed]
        asked += [threads.submit(_fold, 50) for _ in range(2)]
        for each in asked:
            each.result(30)
    assert db.execute_sql(tallies.WRONG).fetchall() == []
    tallies.fold()
    assert LlmCall.select().count() == 150
    assert db.execute_sql(tallies.WRONG).fetchall() == []
    (month,) = Tally.select().where((Tally.span == MONTH) & (Tally.owner_id == "usr_owner"))
    assert (month.calls, month.cost_total * 100) == (150, 150)


def test_a_migration_counts_the_calls_there_were(database: str) -> None:
    call("0.25", 5 * HOUR, run_id=new_run().id)
    call(None, 6 * HOUR, owner_id=None)
    tallies.fold()
    kept = _rows()
    Tally.delete().execute()
    RunTally.delete().execute()
    filling = importlib.import_module("models.migrations.0022_usage")
    db.execute_sql(filling.FILLED)
    db.execute_sql(filling.FILLED_BY_RUN)
    assert _rows() == kept != []


def _rows() -> list[tuple[Any, ...]]:
    return [*sorted(Tally.select().tuples()), *sorted(RunTally.select().tuples())]


def _fold(times: int) -> None:
    with db.connection_context():
        for _ in range(times):
            tallies.fold()


def test_usage_is_looked_up_by_its_span_in_tallies_and_fresh_calls_alike(database: str) -> None:
    """Where the halves of the view differ in a type, Postgres reads all of them first."""
    asked = "EXPLAIN SELECT sum(calls) FROM usage WHERE owner_id = 'x' AND span = 'month'"
    plan = [line for (line,) in db.execute_sql(asked)]
    assert not [line for line in plan if "Subquery Scan on usage" in line]
