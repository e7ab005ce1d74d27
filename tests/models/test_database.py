"""Transactions that send what needs no answer together with what does."""

from __future__ import annotations

import select

import peewee
import psycopg2
import pytest

from models.agents import Agent
from models.base import db
from models.outbox import CHANNEL, Outbox, ask


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
    assert select.select([listener], [], [], 5)[0]
    listener.poll()
    assert len(listener.notifies) == 1
    listener.close()


def test_a_connection_that_the_server_ended_is_not_used_again(database: str) -> None:
    assert Agent.select().count() > 0
    db.close()
    other = psycopg2.connect(database)
    other.autocommit = True
    ended = """
        SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = %s
    """
    other.cursor().execute(ended, ("djinnbot",))
    other.close()
    with db.connection_context():
        assert Agent.select().count() > 0
