"""The ledger: each act of a step execution, claimed before it is done and sealed with its answer.

An act is asking a model or letting a tool run; entry 0 holds the messages the conversation opened
with. Whoever takes a step over replays what is sealed and does the rest. Every write happens while
the run's row lock is held and the step is still under the writer's lease.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from peewee import BooleanField, CharField, CompositeKey, ForeignKeyField, IntegerField

from models.base import CLOCK, JsonField, Model, Moment, db, dumps, now_ms
from models.steps import Step

OPENING, MODEL, TOOL = "opening", "model", "tool"


class Entry(Model):
    """One act; `seq` counts 0, 1, 2 ... within the execution.

    `key` is a digest of what was asked; `commit` and `snapshot` say how the files stood after a
    tool had changed them.
    """

    execution_id: str

    execution = ForeignKeyField(Step, on_delete="CASCADE", index=False)
    seq = IntegerField()
    kind = CharField(max_length=16)
    name = CharField(max_length=256)
    key = CharField(max_length=64)
    request = JsonField(null=True)
    response = JsonField(null=True)
    commit = CharField(max_length=64, null=True)
    snapshot = CharField(max_length=64, null=True)
    tries = IntegerField(default=0)  # claims; more than one when a worker was lost in between
    lost = BooleanField(default=False)  # sealed although nobody knows what came of it
    claimed_at = Moment(default=now_ms)
    sealed_at = Moment(null=True)

    class Meta:
        table_name = "ledger"
        primary_key = CompositeKey("execution", "seq")

    @property
    def sealed(self) -> bool:
        return self.sealed_at is not None

    def claim(self) -> None:
        """Write down, by the commit, that this is about to be done; doing it again counts."""
        self.tries += 1
        insertion, values = self.insertion()
        db.later(insertion + _AGAIN, values)

    def written(self) -> bool:
        """Whether the database has it as it was last claimed or sealed here.

        When it was sealed does not matter: the database says so by a clock of its own.
        """
        text = """
            SELECT tries, sealed_at IS NOT NULL FROM ledger
            WHERE execution_id = %s AND seq = %s
        """
        row = db.now(text, (self.execution_id, self.seq)).fetchone()
        return bool(row == (self.tries, self.sealed))

    def seal(self, response: Any, commit: str | None = None, snapshot: str | None = None) -> None:
        """Write down, by the commit, what came of it, and whether that is known (`lost`)."""
        self.response, self.commit, self.snapshot = response, commit, snapshot
        self.sealed_at = now_ms()
        db.later(
            f"""
            UPDATE ledger SET response = %s, "commit" = %s, snapshot = %s, lost = %s,
                sealed_at = {CLOCK}
            WHERE execution_id = %s AND seq = %s
            """,  # noqa: S608
            (dumps(response), commit, snapshot, self.lost, self.execution_id, self.seq),
        )


_AGAIN = """
    ON CONFLICT (execution_id, seq) DO UPDATE
    SET kind = excluded.kind, name = excluded.name, key = excluded.key,
        request = excluded.request, tries = excluded.tries, claimed_at = excluded.claimed_at
"""


def of(execution_id: str) -> Sequence[Entry]:
    """The acts of an execution, in order."""
    text = "SELECT * FROM ledger WHERE execution_id = %s ORDER BY seq"
    return list(Entry.read(text, execution_id))


def savepoints(execution_id: str) -> list[tuple[str, str]]:
    """How the files stood after each act that changed them: commit and snapshot, in order."""
    text = """
        SELECT "commit", snapshot FROM ledger
        WHERE execution_id = %s AND "commit" IS NOT NULL AND snapshot IS NOT NULL ORDER BY seq
    """
    return [(commit, snapshot) for commit, snapshot in db.now(text, (execution_id,))]


def cut(execution_id: str, seq: int) -> None:
    """Forget the acts from number `seq` on: the conversation went another way."""
    db.now("DELETE FROM ledger WHERE execution_id = %s AND seq >= %s", (execution_id, seq))


def word_of(execution_id: str, seq: int) -> str | None:
    """What an act that changes rows has come to already, if it has."""
    text = "SELECT request->>'came_to' FROM ledger WHERE execution_id = %s AND seq = %s"
    row = db.now(text, (execution_id, seq)).fetchone()
    return row[0] if row else None


def come_to(execution_id: str, seq: int, word: str) -> None:
    """Write down, by the commit of what an act changes, what it has come to."""
    db.later(
        "UPDATE ledger SET request = %s WHERE execution_id = %s AND seq = %s",
        (dumps({"came_to": word}), execution_id, seq),
    )


def launched(execution_id: str, seq: int, delegate_id: str) -> None:
    """Write down, by the commit, which swarm or executor an act has asked for."""
    db.later(
        "UPDATE ledger SET request = %s WHERE execution_id = %s AND seq = %s",
        (dumps({"launched": delegate_id}), execution_id, seq),
    )
