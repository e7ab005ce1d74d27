"""Step executions: every time a step is worked on is its own row, held under a lease.

Leases use the database's clock, so a worker with a wrong clock can neither steal nor keep one.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection, Sequence
from typing import Any, Self

from peewee import SQL, BooleanField, CharField, ForeignKeyField, IntegerField, fn

from models.agents import Agent
from models.base import IDENTIFIER, JsonField, LongText, Moment, db, id_field, now_ms
from models.lifecycle import StateField, Stateful
from models.runs import RUNNING as RUN_RUNNING
from models.runs import Run

QUEUED, RUNNING, COMPLETED = "queued", "running", "completed"
FAILED, CANCELLED = "failed", "cancelled"
ACTIVE = (QUEUED, RUNNING)

LEASE_MS = 5_000
MOST_TRIES = 3  # a step that lost its worker this often is not tried again

CLOCK = SQL("(extract(epoch FROM clock_timestamp()) * 1000)::bigint")


class Step(Stateful):
    """One execution of one step of a run attempt; `number` orders them within the attempt."""

    label = "Step"
    run_id: str

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
            RUNNING: {COMPLETED, FAILED, CANCELLED, QUEUED},
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
    transient = BooleanField(default=False)
    model_used = CharField(max_length=256, null=True)
    session_id = CharField(max_length=IDENTIFIER, null=True)
    commit = CharField(max_length=64, null=True)
    lease_id = CharField(max_length=32, null=True)
    leased_until = Moment(null=True)
    tries = IntegerField(default=0)
    created_at = Moment(default=now_ms)
    updated_at = Moment(default=now_ms)
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
        query = cls.select().where((cls.run == run.id) & (cls.attempt == run.attempt))
        return list(query.where(~cls.superseded).order_by(cls.number))

    def claim(self, **changes: Any) -> Self | None:
        """Take a lease, if the run is running, the step waits and its agent has a hand free.

        The caller holds the run's lock. The try is counted before the work begins.
        """
        hands: Any = Agent.select(Agent.concurrent_steps).where(Agent.id == self.agent_id)
        row = hands.for_update("FOR NO KEY UPDATE").tuples().first()
        busy = Step.select(fn.count(Step.id)).where(
            (Step.agent_id == self.agent_id) & (Step.state == RUNNING) & (Step.leased_until > CLOCK)
        )
        if row and busy.scalar() >= row[0]:
            return None
        claimed = (
            Step.update(
                state=RUNNING,
                lease_id=secrets.token_hex(8),
                leased_until=CLOCK + LEASE_MS,
                tries=Step.tries + 1,
                started_at=now_ms(),
                updated_at=now_ms(),
                **changes,
            )
            .where((Step.id == self.id) & (Step.state == QUEUED) & (Step.due_at <= CLOCK))
            .returning(Step)
            .execute()
        )
        return next(iter(claimed), None)

    def held(self) -> bool:
        """Whether this process still has the lease; ask while holding the run's lock."""
        return Step.select().where(self.holding()).exists()

    def holding(self) -> Any:
        """The guard of every write a worker makes: the step is running under our lease."""
        return (Step.id == self.id) & (Step.state == RUNNING) & (Step.lease_id == self.lease_id)


def renew(leases: Collection[str]) -> set[str]:
    """Prolong the leases that are still ours; the others were cancelled, paused or taken over."""
    if not leases:
        return set()
    rows = (
        Step.update(leased_until=CLOCK + LEASE_MS)
        .where(Step.lease_id.in_(list(leases)) & (Step.state == RUNNING))
        .returning(Step.lease_id)
        .tuples()
        .execute()
    )
    return {lease for (lease,) in rows}


def expired(limit: int = 100) -> Sequence[Step]:
    """Running steps whose worker has not been heard of since its lease ended."""
    query = Step.select(Step, Run).join(Run)
    query = query.where((Step.state == RUNNING) & (Step.leased_until < CLOCK))
    return list(query.limit(limit))


def waiting(agent_id: str, limit: int) -> list[str]:
    """The ids of the agent's due steps, the most urgent and oldest first."""
    query: Any = (
        Step.select(Step.id)
        .join(Run)
        .where((Step.agent_id == agent_id) & (Step.state == QUEUED) & (Step.due_at <= CLOCK))
        .where(Run.state == RUN_RUNNING)
        .order_by(Step.priority.desc(), Step.created_at, Step.id)
        .limit(limit)
    )
    return [row[0] for row in query.tuples()]


def forgotten(older_than_ms: int, limit: int = 200) -> list[str]:
    """The ids of due steps that nobody has taken for a while: their request was lost."""
    rows = db.execute_sql(
        """
        SELECT steps.id FROM steps JOIN runs ON runs.id = steps.run_id
        WHERE steps.state = 'queued' AND runs.state = 'running'
          AND greatest(steps.due_at, steps.updated_at) + %s
              < (extract(epoch FROM clock_timestamp()) * 1000)::bigint
        ORDER BY steps.priority DESC, steps.created_at LIMIT %s
        """,
        (older_than_ms, limit),
    )
    return [step_id for (step_id,) in rows]
