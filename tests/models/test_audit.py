"""The audit log: one chain, in which nothing can be altered unseen."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import peewee
import pytest

from models import audit
from models.base import db
from models.principals import Principal

ANNA = Principal("usr_anna", "user")


def note(number: int) -> None:
    with db.connection_context(), db.atomic():
        audit.record(ANNA, "secret.created", f"sec_{number}", name="ümlaut", b=2, a=[1, {"d": 1}])


def untied(sql: str, *params: object) -> None:
    """Do as somebody would who owns the database."""
    with db.atomic():
        db.execute_sql("ALTER TABLE audit_log DISABLE TRIGGER USER")
        db.execute_sql(sql, params)
        db.execute_sql("ALTER TABLE audit_log ENABLE TRIGGER USER")


def test_entries_of_many_at_once_make_one_chain(database: str):
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(note, range(40)))
    with db.connection_context():
        found = audit.verify()
        assert (found.entries, found.broken) == (40, None)
        assert [entry.seq for entry in audit.Entry.select().order_by(audit.Entry.seq)] == [
            *range(1, 41)
        ]


def test_what_is_rolled_back_was_never_said(database: str):
    with db.connection_context():
        with pytest.raises(RuntimeError), db.atomic():
            audit.record(None, "user.created", "usr_x")
            raise RuntimeError
        assert audit.verify().entries == 0


@pytest.mark.parametrize(
    "verb", ["UPDATE audit_log SET actor = 'x'", "DELETE FROM audit_log", "TRUNCATE audit_log"]
)
def test_the_database_refuses_to_change_it(database: str, verb: str):
    note(1)
    with db.connection_context(), pytest.raises(peewee.PeeweeException, match="append-only"):
        db.execute_sql(verb)


def test_an_end_that_was_cut_off_is_missed_by_who_noted_it(database: str):
    for number in range(3):
        note(number)
    with db.connection_context():
        head = audit.verify().head
        note(4)
        assert audit.verify(head).complete
        assert audit.verify(audit.BEGINNING).complete
        untied("DELETE FROM audit_log WHERE seq >= 3")
        found = audit.verify(head)
        assert (found.broken, found.complete) == (None, False)


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE audit_log SET actor = 'usr_annA' WHERE seq = 3",
        "UPDATE audit_log SET at = at + 1 WHERE seq = 3",
        "UPDATE audit_log SET details = details || '{\"b\": 3}' WHERE seq = 3",
        "UPDATE audit_log SET digest = repeat('0', 64) WHERE seq = 3",
        "DELETE FROM audit_log WHERE seq = 3",
        "UPDATE audit_log SET seq = 9 WHERE seq = 3",
    ],
)
def test_whatever_is_altered_is_found(database: str, change: str):
    for number in range(5):
        note(number)
    with db.connection_context():
        assert audit.verify().broken is None
        untied(change)
        found = audit.verify()
        assert found.broken in {3, 4}
        assert found.entries == 2
