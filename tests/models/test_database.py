"""Transactions that send what needs no answer together with what does."""

from __future__ import annotations

import select
from collections.abc import Iterator
from typing import Any

import peewee
import psycopg2
import pytest

from models.agents import Agent
from models.base import db
from models.insisting import insist
from models.outbox import CHANNEL, Outbox, ask

LOOK = "SELECT * FROM shelf"


@pytest.fixture
def fresh(database: str) -> Iterator[str]:
    """The database, over connections that nobody has used before nor will afterwards."""
    db.close_all()
    yield database
    db.close_all()


def insert(key: str) -> tuple[str, tuple[str]]:
    return "INSERT INTO outbox (queue, body, due_at, unique_key) VALUES ('q', '{}', 0, %s)", (key,)


def keys() -> list[str]:
    return [row.unique_key for row in Outbox.select().order_by(Outbox.id)]


def test_what_is_written_later_is_seen_by_the_next_query_in_order(database: str) -> None:
    with db.atomic():
        db.later(*insert("first"))
        db.later(*insert("second: 100% of it; -- all"))
        assert keys() == ["first", "second: 100% of it; -- all"]
    assert len(keys()) == 2


def test_outside_a_transaction_later_is_now(database: str) -> None:
    db.later(*insert("alone"))
    assert keys() == ["alone"]


def test_a_refused_statement_raises_and_takes_the_whole_transaction_with_it(database: str) -> None:
    with pytest.raises(peewee.IntegrityError), db.atomic():
        db.later(*insert("twice"))
        db.later(*insert("twice"))
    assert keys() == []
    db.later(*insert("the connection goes on"))
    assert keys() == ["the connection goes on"]


def test_nothing_of_an_abandoned_transaction_is_sent_with_the_next(database: str) -> None:
    with pytest.raises(RuntimeError), db.atomic():
        db.later(*insert("abandoned"))
        raise RuntimeError("changed its mind")
    with db.atomic():
        db.later(*insert("kept"))
    assert keys() == ["kept"]


def test_an_inner_part_is_undone_alone(database: str) -> None:
    with db.atomic():
        db.later(*insert("outer"))
        with pytest.raises(RuntimeError), db.atomic():
            db.later(*insert("inner"))
            raise RuntimeError("only this")
        db.later(*insert("after"))
    assert keys() == ["outer", "after"]


def test_the_bell_rings_once_and_only_for_what_committed(database: str) -> None:
    listener = psycopg2.connect(database)
    listener.autocommit = True
    listener.cursor().execute(f"LISTEN {CHANNEL}")
    with pytest.raises(RuntimeError), db.atomic():
        ask("q", {})
        raise RuntimeError("never happened")
    with db.atomic():
        ask("q", {})
        ask("q", {})
    assert select.select([listener], [], [], 30)[0]
    listener.poll()
    assert len(listener.notifies) == 1
    listener.close()


def test_a_connection_that_the_server_ended_is_not_used_again(fresh: str) -> None:
    assert Agent.select().count() > 0
    db.close()
    other = psycopg2.connect(fresh)
    other.autocommit = True
    ended = """
        SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
        WHERE application_name LIKE 'djinnbot %' AND datname = current_database()
    """
    with other.cursor() as cursor:
        cursor.execute(ended)
        assert set(cursor.fetchall()) == {(True,)}  # the tests before have left some open
    other.close()
    with db.connection_context():
        assert Agent.select().count() > 0


def test_a_statement_is_planned_once_and_told_by_its_number_from_then_on(fresh: str) -> None:
    for key in ("first", "second: 100% of it; -- all", "third"):
        db.later(*insert(key))
    assert len(prepared()) == 1
    assert keys() == ["first", "second: 100% of it; -- all", "third"]
    assert db.now("SELECT 1").fetchone() == (1,)


def test_what_was_prepared_amid_a_failure_is_prepared_again(fresh: str) -> None:
    with pytest.raises(peewee.IntegrityError), db.atomic():
        db.later(*insert("twice"))
        db.later(*insert("twice"))
        db.later("UPDATE outbox SET queue = %s WHERE unique_key = %s", ("never", "told"))
    with db.atomic():
        db.later("UPDATE outbox SET queue = %s WHERE unique_key = %s", ("never", "told"))
        db.later(*insert("goes on"))
    assert keys() == ["goes on"]
    assert len(prepared()) == 2


def test_a_failure_in_an_inner_part_leaves_the_outer_one_intact(fresh: str) -> None:
    with db.atomic():
        db.later(*insert("outer"))
        with pytest.raises(peewee.IntegrityError), db.atomic():
            db.later(*insert("inner"))
            db.now(*insert("outer"))
        db.later(*insert("after"))
    assert keys() == ["outer", "after"]


def test_a_plan_that_a_migration_overtook_fails_once(fresh: str) -> None:
    db.execute_sql("CREATE TEMPORARY TABLE shelf (id TEXT, name TEXT)")
    db.execute_sql("INSERT INTO shelf VALUES ('a', 'Anna')")
    text = "SELECT * FROM shelf WHERE id = %s"
    assert db.now(text, ("a",)).fetchone() == ("a", "Anna")
    db.execute_sql("ALTER TABLE shelf ADD COLUMN role TEXT")
    with pytest.raises(peewee.NotSupportedError):
        db.now(text, ("a",))
    assert db.now(text, ("a",)).fetchone() == ("a", "Anna", None)


def test_what_insists_does_not_fail_for_it(fresh: str) -> None:
    db.execute_sql("CREATE TABLE shelf (id TEXT); INSERT INTO shelf VALUES ('a')")
    db.now(LOOK)
    db.execute_sql("ALTER TABLE shelf ADD COLUMN role TEXT")
    try:
        assert insist(look) == ("a", None)
    finally:
        db.execute_sql("DROP TABLE shelf")


def look() -> Any:
    with db.atomic():
        return db.now(LOOK).fetchone()


def prepared() -> list[str]:
    """The statements that this connection has prepared."""
    return [text for (text,) in db.execute_sql("SELECT statement FROM pg_prepared_statements")]


def test_a_moment_sees_all_as_it_was_when_it_first_looked(database: str) -> None:
    db.later(*insert("before"))
    with psycopg2.connect(database) as other, db.moment():
        assert keys() == ["before"]
        other.cursor().execute(*insert("meanwhile"))
        other.commit()
        assert keys() == ["before"]
    assert keys() == ["before", "meanwhile"]


def test_a_moment_changes_nothing_and_one_that_looks_at_nothing_costs_nothing(
    database: str,
) -> None:
    with pytest.raises(peewee.InternalError, match="read-only"), db.moment():
        db.later(*insert("never"))
    with db.moment():
        pass
    with db.atomic(), db.moment():
        db.later(*insert("inside of another transaction"))
    assert keys() == ["inside of another transaction"]
