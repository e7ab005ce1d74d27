"""Step executions: every time a step is worked on is its own row, held under a lease."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping, Sequence
from typing import Any, Self

from peewee import BigIntegerField, BooleanField, CharField, ForeignKeyField, IntegerField

from models.agents import Agent
from models.base import (
    CLOCK,
    IDENTIFIER,
    Expression,
    JsonField,
    LongText,
    Moment,
    Touched,
    db,
    id_field,
    now_ms,
    tag,
)
from models.config import Settings
from models.lifecycle import StateField, Stateful
from models.processes import deaths
from models.runs import CHAT, EXECUTOR, Run

QUEUED, RUNNING, WAITING = "queued", "running", "waiting"
COMPLETED, FAILED, CANCELLED = "completed", "failed", "cancelled"
ACTIVE = (QUEUED, RUNNING, WAITING)

AGENTS, EXECUTORS = "agents", "executors"  # the queues that steps are worked on from
CHATS = "chats"  # turns of chats: a person waits for them, so they wait for nobody's hands

LEASE_MS = 3_000
LATELY_MS = 180_000  # longer than a few workers take to come back; `processes` forgets later
MOST_TRIES = 3  # at the same act; the last of them in a process of the step's own
MOST_TOGETHER = 4  # after so many a worker has one such step at a time: one is to blame, not two
# Where a step has come to: the acts it has done, and the latest one where that was lost with its
# worker: what it was, and how often the very same one has been lost. The opening is written with
# the claim of the first act, so whoever got no further has done nothing; neither has who only wrote
# down that an act was lost, or heard a model's answer to that. And what was counted so far.
POINT = """
    WITH acts AS (
        SELECT *, lag(lost, 1, false) OVER (ORDER BY seq) AS after_lost
        FROM ledger WHERE execution_id = %(step)s AND seq > 0
    ), latest AS (
        SELECT * FROM acts WHERE seq = (SELECT max(seq) FROM acts)
            AND (lost OR sealed_at IS NULL)
    )
    SELECT (SELECT count(*) FROM acts
            WHERE sealed_at IS NOT NULL AND NOT lost AND NOT (kind = 'model' AND after_lost)),
        (SELECT kind || ' ' || name FROM latest),
        (SELECT count(*) FROM acts JOIN latest USING (kind, key)
         WHERE kind = 'tool' AND (acts.lost OR acts.sealed_at IS NULL)),
        tries, hindrances, mark
    FROM steps WHERE id = %(step)s
"""

# What letting go of a step that is not done changes. A worker that was lost may have worked until
# its lease ran out.
LET_GO: Mapping[str, Any] = {
    "lease_id": None,
    "leased_until": None,
    "worked_ms": Expression(f"worked_ms + greatest(0, least({CLOCK}, leased_until) - started_at)"),
}


class Step(Stateful):
    """One execution of one step of a run attempt; `number` orders them within the attempt."""

    label = "Step"
    run_id: str
    under: Settings  # what it is worked on under, for whoever has claimed it
    valid_until = 0.0  # monotonic; until when the lease is good that was claimed here

    id = id_field("exec_")
    run = ForeignKeyField(Run, on_delete="CASCADE", index=False)
    attempt = IntegerField()
    number = IntegerField()
    step_id = CharField(max_length=IDENTIFIER)
    agent_id = CharField(max_length=IDENTIFIER)
    position = IntegerField()
    state = StateField(
        {
            QUEUED: {RUNNING, CANCELLED, FAILED},
            RUNNING: {COMPLETED, FAILED, CANCELLED, QUEUED, WAITING},
            WAITING: {QUEUED, CANCELLED, FAILED},
            COMPLETED: set(),
            FAILED: set(),
            CANCELLED: set(),
        }
    )
    superseded = BooleanField(default=False)  # undone by a restart of a step
    visit = IntegerField(default=1)
    retry = IntegerField(default=0)
    max_retries = IntegerField(default=3)
    execution = IntegerField(default=1)
    priority = IntegerField(default=0)
    due_at = Moment(default=0)
    inputs = JsonField(default=dict)
    loop = JsonField(null=True)
    feedback = JsonField(default=list)
    human_context = LongText(null=True)
    outputs = JsonField(default=dict)
    text = LongText(null=True)
    error = LongText(null=True)
    final = BooleanField(default=False)  # no repeating would change the failure
    model_used = CharField(max_length=256, null=True)
    session_id = CharField(max_length=IDENTIFIER, null=True)
    commit = CharField(max_length=64, null=True)
    queue = CharField(max_length=16, default=AGENTS)
    origin_id = CharField(max_length=IDENTIFIER, null=True)  # the execution it shares or replays
    waits_for = CharField(max_length=IDENTIFIER, null=True)  # the swarm or run it delegated to
    lease_id = CharField(max_length=32, null=True)
    leased_until = Moment(null=True)
    tries = IntegerField(default=0)  # claims since `mark` acts were done
    hindrances = IntegerField(default=0)  # the same, by what is outside
    mark = IntegerField(default=0)
    worked_ms = BigIntegerField(default=0)  # under the leases before this one
    created_at = Moment(default=now_ms)
    updated_at = Touched()
    started_at = Moment(null=True)
    completed_at = Moment(null=True)

    class Meta:
        table_name = "steps"
        indexes = (
            (("run", "attempt", "number"), True),
            (("agent_id", "state", "priority", "created_at"), False),
        )

    @classmethod
    def of(cls, run: Run) -> Sequence[Self]:
        """The executions that count in the run's current attempt, in order."""
        text = """
            SELECT * FROM steps
            WHERE run_id = %s AND attempt = %s AND NOT superseded ORDER BY number
        """
        return list(cls.read(text, run.id, run.attempt))

    def claim(self, hands: int, **changes: Any) -> bool:
        """Take a lease, if the step is due and its agent is busy with fewer than `hands` steps.

        Executors are not bound to hands: those who ask for them say how many work at once. The
        caller holds the lock of the run, under which it read this step; the agent's is taken
        here, as late as may be, because all its steps queue up for it. The try is counted before
        the work; `blame` and `absolve` say what becomes of it.
        """
        began = time.monotonic()
        busy, now = self._busy()
        if self.due_at > now:
            return False
        if busy >= hands and self.queue == AGENTS:
            self.put(due_at=now)  # refused, see `refused`
            return False
        lease: Any = {"lease_id": tag() + secrets.token_hex(8), "leased_until": now + LEASE_MS}
        counted: Any = {"tries": self.tries + 1, "started_at": now}
        self.move(RUNNING, **lease, **counted, waits_for=None, **changes)
        self.valid_until = began + LEASE_MS / 1000
        return True

    def _busy(self) -> tuple[int, int]:
        """How many steps the agent has its hands on, and the database's time (ms)."""
        if self.queue == AGENTS:
            Agent.lock(self.agent_id)
        rows = db.now(
            f"""
            WITH clock AS (SELECT {CLOCK} AS now)
            SELECT count(steps.id), now FROM clock LEFT JOIN steps
                ON agent_id = %s AND queue = %s AND state = 'running' AND leased_until > now
            GROUP BY now
            """,  # noqa: S608
            (self.agent_id, self.queue),
        )
        return tuple(rows.fetchone())

    def blame(self) -> str:
        """Count, in memory, a worker that was lost at the point the step has come to; names it.

        Those that were lost before the step went on do not count, unless it was by the same act.
        """
        act, lost = self._come_to()
        self.tries = max(self.tries, lost)
        return f"step {self.step_id}" + (f" ({act})" if act else "")

    def absolve(self) -> None:
        """Take back, in memory, the try of a worker that let go of the step."""
        self._come_to()
        self.tries -= 1

    def hinder(self) -> None:
        """Count, in memory, that something outside was in the way where the step has come to."""
        self.absolve()
        self.hindrances += 1

    def _come_to(self) -> tuple[str | None, int]:
        """The latest act if it was lost, and how often; what was counted before it counts anew.

        Counted from what the row says, however often the transaction has been tried.
        """
        done, act, lost, *counted, mark = db.now(POINT, {"step": self.id}).fetchone()
        self.tries, self.hindrances = counted if done == mark else (1, 0)
        self.mark = done
        return act, lost

    @property
    def counted(self) -> Mapping[str, Any]:
        """What was counted in memory, to be written."""
        return {"tries": self.tries, "hindrances": self.hindrances, "mark": self.mark}

    def poisoned(self, proven: bool) -> bool:
        """Whether it is to blame for the workers it lost at the same point.

        Three are enough if the last one was the step's own process and nothing else (`proven`).
        Whole workers die of other things too: without proof it takes twice as many, and as many
        again where workers have died lately that had nothing to do with it.
        """
        if self.tries < (MOST_TRIES if proven else 2 * MOST_TRIES):
            return False
        return proven or self.tries >= 4 * MOST_TRIES or deaths(LATELY_MS) <= self.tries

    def held_run(self) -> Run | None:
        """The run under its row lock, if this process still has the lease.

        Locked first and read after: one statement would see the step as it was before the wait.
        """
        db.later("SELECT 1 FROM runs WHERE id = %s FOR NO KEY UPDATE", (self.run_id,))
        text = """
            SELECT * FROM runs WHERE id = %s AND attempt = %s AND EXISTS (
                SELECT 1 FROM steps WHERE id = %s AND state = 'running' AND lease_id = %s)
        """
        rows = Run.read(text, self.run_id, self.attempt, self.id, self.lease_id)
        return next(iter(rows), None)

    def copied(self) -> Self:
        """A copy for a transaction that may be tried again: this one stays as it was read."""
        return type(self)._as_read(dict(self.__data__))

    def holding(self) -> Mapping[str, Any]:
        """The guard of every write a worker makes: the step is still under our lease."""
        return {"lease_id": self.lease_id}


def queue_of(run: Run) -> str:
    """The queue of those who work on the run's steps."""
    return {EXECUTOR: EXECUTORS, CHAT: CHATS}.get(run.kind, AGENTS)
