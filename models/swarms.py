"""Swarms: tasks that depend on each other, each worked on by an executor run of its own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from typing import Any, Self

from peewee import CharField, ForeignKeyField, IntegerField

from models.base import (
    CLOCK,
    IDENTIFIER,
    JsonField,
    LongText,
    Moment,
    Touched,
    database_ms,
    db,
    id_field,
    now_ms,
)
from models.lifecycle import StateField, Stateful
from models.principals import Principal
from models.projects import shared

PENDING, READY, RUNNING, MERGING = "pending", "ready", "running", "merging"
COMPLETED, FAILED, CANCELLED, SKIPPED = "completed", "failed", "cancelled", "skipped"
OVER = (COMPLETED, FAILED, CANCELLED)
TASK_OVER = (*OVER, SKIPPED)

MERGING_MS = 600_000  # how long after its deadline a swarm may still be merging


class Swarm(Stateful):
    """One swarm. Whoever changes it or its tasks holds its row lock first (`locked`).

    `asked_by` names the act of the planner that launched it, `<execution>:<number>`; `deadline` is
    the moment (ms) at which whatever has not ended is cancelled; `starts` are the files (`branch`,
    `commit`, `snapshot`) that tasks without dependencies begin with; `merges` tells what became
    of the branches (see `workers.swarms.merging`), None until they are merged.
    """

    label = "Swarm"

    id = id_field("swarm_")
    state = StateField(
        {
            PENDING: {RUNNING, FAILED, CANCELLED},
            RUNNING: {MERGING, COMPLETED, FAILED, CANCELLED},
            MERGING: {COMPLETED, FAILED, CANCELLED},
            COMPLETED: set(),
            FAILED: set(),
            CANCELLED: set(),
        }
    )
    owner_id = CharField(max_length=IDENTIFIER, null=True)
    agent_id = CharField(max_length=IDENTIFIER)
    project_id = CharField(max_length=IDENTIFIER, null=True)  # that of all its tasks
    parent_id = CharField(max_length=IDENTIFIER, null=True)  # the planner's run
    asked_by = CharField(max_length=IDENTIFIER + 16, null=True, unique=True)
    max_concurrent = IntegerField()
    deviation_rules = LongText(default="")
    global_timeout_seconds = IntegerField()
    deadline = Moment()
    starts = JsonField(default=list)
    merges = JsonField(null=True)
    error = LongText(null=True)
    asked_at = Moment(null=True)  # when the sweep last asked for the merge
    created_at = Moment(default=now_ms)
    updated_at = Touched()
    started_at = Moment(null=True)
    completed_at = Moment(null=True)

    class Meta:
        table_name = "swarms"
        indexes = (
            (("created_at", "id"), False),
            (("owner_id", "created_at", "id"), False),
            (("project_id", "created_at", "id"), False),
            (("parent_id",), False),
        )

    @classmethod
    def visible_to(cls, principal: Principal) -> Any:
        """The only place that says who sees swarms: owners, members of their projects, admins."""
        return shared(cls, principal)

    @classmethod
    def locked(cls, swarm_id: str) -> Self | None:
        """The swarm under its row lock; None when it is not there."""
        rows = cls.raw("SELECT * FROM swarms WHERE id = %s FOR NO KEY UPDATE", swarm_id)
        return next(iter(rows), None)

    @property
    def over(self) -> bool:
        return self.state in OVER

    @property
    def late(self) -> bool:
        """Whether its deadline has passed, by the database's clock; merging has longer."""
        longer = MERGING_MS if self.state == MERGING else 0
        return bool(self.deadline + longer <= database_ms())

    @property
    def status(self) -> str:
        """The state as clients know it: merging is the last part of running."""
        return RUNNING if self.state == MERGING else str(self.state)


class SwarmTask(Stateful):
    """One task of a swarm; `commit` and `snapshot` hold the work on `branch` once it is done."""

    label = "Task"
    swarm_id: str

    id = id_field("swarmtask_")
    swarm = ForeignKeyField(Swarm, on_delete="CASCADE", index=False)
    number = IntegerField()  # its place in the request, from 0
    key = CharField(max_length=64)
    title = LongText()
    project_id = CharField(max_length=IDENTIFIER)
    task_id = CharField(max_length=IDENTIFIER)
    execution_prompt = LongText()
    dependencies = JsonField(default=list)
    model = CharField(max_length=256, null=True)
    timeout_seconds = IntegerField(null=True)
    state = StateField(
        {
            PENDING: {READY, RUNNING, FAILED, CANCELLED, SKIPPED},
            READY: {RUNNING, FAILED, CANCELLED},
            RUNNING: {COMPLETED, FAILED, CANCELLED},
            COMPLETED: set(),
            FAILED: set(),
            CANCELLED: set(),
            SKIPPED: set(),
        }
    )
    branch = CharField(max_length=256)
    run_id = CharField(max_length=IDENTIFIER, null=True)
    commit = CharField(max_length=64, null=True)
    snapshot = CharField(max_length=64, null=True)
    outputs = JsonField(null=True)
    error = LongText(null=True)
    created_at = Moment(default=now_ms)
    updated_at = Touched()
    started_at = Moment(null=True)
    completed_at = Moment(null=True)

    class Meta:
        table_name = "swarm_tasks"
        indexes = ((("swarm", "key"), True), (("run_id",), False))

    @classmethod
    def of(cls, *swarms: Swarm, without: Sequence[str] = ()) -> Sequence[Self]:
        """The tasks of these swarms, each swarm's in the order of its request.

        `without` are columns that nobody will look at.
        """
        mine = cls.swarm.in_([swarm.id for swarm in swarms])
        columns = [field for field in cls._meta.sorted_fields if field.name not in without]
        return list(cls.select(*columns).where(mine).order_by(cls.swarm, cls.number))

    @property
    def duration_ms(self) -> int | None:
        """How long it was worked on, once it has ended."""
        if self.started_at is None or self.completed_at is None:
            return None
        return int(self.completed_at - self.started_at)


def counts(tasks: Sequence[SwarmTask]) -> Counter[str]:
    """How many of the tasks stand in each state."""
    return Counter(str(task.state) for task in tasks)


def summary(swarm: Swarm, tasks: Sequence[SwarmTask]) -> dict[str, Any]:
    """What came of a swarm, as its last event and its planner hear it."""
    tally = counts(tasks)
    ended = swarm.completed_at or now_ms()
    return {
        "totalTasks": len(tasks),
        **{state: tally[state] for state in (COMPLETED, FAILED, SKIPPED, CANCELLED)},
        "totalDurationMs": ended - (swarm.started_at or swarm.created_at),
        "taskResults": [_result(task) for task in tasks],
    }


def _result(task: SwarmTask) -> dict[str, Any]:
    told = {
        "runId": task.run_id,
        "outputs": task.outputs,
        "error": task.error,
        "durationMs": task.duration_ms,
    }
    known = {name: value for name, value in told.items() if value is not None}
    return {"key": task.key, "title": task.title, "status": task.state, **known}


def asked(asked_by: str) -> Swarm | None:
    """The swarm that this act of a planner launched."""
    swarm: Swarm | None = Swarm.get_or_none(Swarm.asked_by == asked_by)
    return swarm


def shares_its_task(run_id: str) -> bool:
    """Whether others of a run's swarm have their part in its task, and the swarm is not over."""
    text = """
        SELECT EXISTS (
            SELECT FROM swarm_tasks AS mine JOIN swarms ON swarms.id = mine.swarm_id
                JOIN swarm_tasks AS other USING (swarm_id, task_id)
            WHERE mine.run_id = %s AND other.id <> mine.id
              AND swarms.state NOT IN ('completed', 'failed', 'cancelled'))
    """
    return bool(db.now(text, (run_id,)).fetchone()[0])


def over(swarm_ids: Collection[str]) -> set[str]:
    """Which of these swarms are over, or not there any more."""
    text = """
        SELECT asked.id FROM unnest(%s::text[]) AS asked (id)
            LEFT JOIN swarms ON swarms.id = asked.id
        WHERE swarms.id IS NULL OR swarms.state IN ('completed', 'failed', 'cancelled')
    """
    return {swarm_id for (swarm_id,) in db.now(text, (list(swarm_ids),))}


def stalled(older_than_ms: int, limit: int = 100) -> list[str]:
    """Swarms that should have moved on by now and did not: a request got lost on its way."""
    rows = db.execute_sql(
        f"""
        SELECT swarms.id FROM swarms
        WHERE state = 'merging' AND deadline + {MERGING_MS} < {CLOCK}
        OR state IN ('pending', 'running') AND (
            deadline + %(late)s < {CLOCK}
            OR EXISTS (
                SELECT 1 FROM swarm_tasks LEFT JOIN runs ON runs.id = swarm_tasks.run_id
                WHERE swarm_tasks.swarm_id = swarms.id AND swarm_tasks.state = 'running' AND (
                    runs.id IS NULL OR (runs.state IN ('completed', 'failed', 'cancelled')
                        AND runs.completed_at + %(late)s < {CLOCK})))
            OR (swarms.updated_at + %(late)s < {CLOCK} AND NOT EXISTS (
                SELECT 1 FROM swarm_tasks
                WHERE swarm_tasks.swarm_id = swarms.id AND swarm_tasks.state = 'running')))
        LIMIT %(limit)s
        """,  # noqa: S608
        {"late": older_than_ms, "limit": limit},
    )
    return [swarm_id for (swarm_id,) in rows]


def unmerged(older_than_ms: int, limit: int = 100) -> list[str]:
    """Swarms whose branches have waited this long to be merged: each is given out once, then
    after as long again, because nobody knows whether somebody is at it."""
    rows = db.execute_sql(
        f"""
        UPDATE swarms SET asked_at = {CLOCK} WHERE id = ANY(ARRAY(
            SELECT id FROM swarms WHERE state = 'merging'
                AND {CLOCK} - greatest(updated_at, asked_at) > greatest(%s, asked_at - updated_at)
            LIMIT %s FOR NO KEY UPDATE SKIP LOCKED))
        RETURNING id
        """,  # noqa: S608
        (older_than_ms, limit),
    )
    return [swarm_id for (swarm_id,) in rows]


def leftovers(swarm_id: str) -> list[str]:
    """The runs that are active although the swarm has cancelled their tasks."""
    rows = db.execute_sql(f"SELECT runs.id {_LEFT_OVER} AND swarm_id = %s", (swarm_id,))
    return [run_id for (run_id,) in rows]


def forsaken(limit: int = 100) -> list[str]:
    """The swarms that have cancelled tasks whose runs are still active."""
    rows = db.execute_sql(f"SELECT DISTINCT swarm_id {_LEFT_OVER} LIMIT %s", (limit,))
    return [swarm_id for (swarm_id,) in rows]


_LEFT_OVER = """
    FROM runs JOIN swarm_tasks ON swarm_tasks.run_id = runs.id
    WHERE runs.state IN ('pending', 'running', 'paused') AND runs.kind = 'executor'
      AND swarm_tasks.state = 'cancelled' AND NOT runs.meta ? 'apart'
"""
