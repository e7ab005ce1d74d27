"""Pulse routines: what an agent does by itself now and again, and each time that it came up.

A routine belongs to who made it: its sessions work in their name and at their cost, so nobody but
them and admins sees it, although the agents are everybody's.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any, Self

from peewee import BooleanField, CharField, ForeignKeyField, IntegerField

from models.agents import Agent
from models.base import (
    CLOCK,
    IDENTIFIER,
    JsonField,
    LongText,
    Model,
    Moment,
    Touched,
    db,
    id_field,
    now_ms,
)
from models.lifecycle import StateField, Stateful
from models.principals import Principal
from models.sessions import UNASKED_TODAY
from models.timetable import DAY_MS, MINUTE_MS, Timetable

MOST = 50  # routines of one owner for one agent
MOST_BLACKOUTS = 50
MOST_ONE_OFFS = 100
LONGEST_NAME = 256
COLORS = ("#3b82f6", "#10b981", "#f59e0b", "#ef4444", "#8b5cf6", "#ec4899", "#14b8a6", "#84cc16")
MANUAL = "manual"  # the source of a firing that somebody asked for
GITHUB = "github"  # and of one that something there has called for
ASKED = (MANUAL, GITHUB)  # they are no slots of a timetable

PENDING, RUNNING = "pending", "running"
COMPLETED, FAILED, CANCELLED, SKIPPED = "completed", "failed", "cancelled", "skipped"
OPEN = (PENDING, RUNNING)
KEPT_MS = 30 * DAY_MS  # how long it is remembered when a routine came up


class Routine(Model):
    """One routine. The clock has decided about its slots up to `seen_until` and looks at `look_at`.

    `skipped` counts the firings in a row that came to nothing.
    """

    label = "Routine"
    agent_id: str

    id = id_field("pr_")
    agent = ForeignKeyField(Agent, on_delete="CASCADE", index=False)
    owner_id = CharField(max_length=IDENTIFIER)
    name = CharField(max_length=LONGEST_NAME)
    description = LongText(null=True)
    instructions = LongText(default="")
    enabled = BooleanField(default=True)
    interval_minutes = IntegerField(default=30)
    offset_minutes = IntegerField(default=0)
    timezone = CharField(max_length=64, default="UTC")
    blackouts = JsonField(default=list)
    one_offs = JsonField(default=list)
    timeout_ms = IntegerField(null=True)
    max_concurrent = IntegerField(default=1)
    pulse_columns = JsonField(null=True)
    planning_model = CharField(max_length=256, null=True)
    executor_model = CharField(max_length=256, null=True)
    executor_timeout_sec = IntegerField(null=True)
    tools = JsonField(null=True)
    stage_affinity = JsonField(null=True)
    task_work_types = JsonField(null=True)
    color = CharField(max_length=32, null=True)
    sort_order = IntegerField(default=0)
    last_run_at = Moment(null=True)
    total_runs = IntegerField(default=0)
    skipped = IntegerField(default=0)
    seen_until = Moment()
    look_at = Moment()
    created_at = Moment(default=now_ms)
    updated_at = Touched()

    class Meta:
        table_name = "pulse_routines"
        indexes = (
            (("agent", "owner_id", "name"), True),
            (("owner_id", "agent"), False),
        )

    @classmethod
    def visible_to(cls, principal: Principal) -> Any:
        """Its owner and admins."""
        query = cls.select()
        return query if principal.is_admin else query.where(cls.owner_id == principal.id)

    @classmethod
    def locked(cls, routine_id: str) -> Self | None:
        """The routine under its row lock; None when it is gone.

        Runs and firings of a routine are locked before it, never after.
        """
        text = "SELECT * FROM pulse_routines WHERE id = %s FOR NO KEY UPDATE"
        return next(iter(cls.read(text, routine_id)), None)

    @classmethod
    def due(cls, limit: int) -> Sequence[tuple[Self, int]]:
        """Locked routines that the clock must look at, each with the database's time (ms).

        Those that somebody else holds are left to them.
        """
        return [(each, each.__data__.pop("now")) for each in cls.read(_DUE, limit)]

    @cached_property
    def timetable(self) -> Timetable:
        """When it is due; ValueError when that cannot be told (any more)."""
        return Timetable.of(
            self.timezone,
            self.interval_minutes,
            self.offset_minutes,
            self.blackouts,
            self.one_offs,
        )

    @property
    def interval_ms(self) -> int:
        return int(self.interval_minutes) * MINUTE_MS

    def looked(self, now: int) -> dict[str, int]:
        """The columns that say that its slots are decided about up to now."""
        following = self.timetable.next(now)
        return {"seen_until": now, "look_at": following.at if following else now + DAY_MS}


_DUE = f"""
    SELECT *, {CLOCK} AS now FROM pulse_routines WHERE enabled AND look_at <= {CLOCK}
    ORDER BY look_at, id LIMIT %s FOR NO KEY UPDATE SKIP LOCKED
"""  # noqa: S608


class Firing(Stateful):
    """A routine came up: one row for each of its slots, with the run that it became or why not."""

    label = "Firing"

    id = id_field("pf_")
    state = StateField(
        {
            PENDING: {RUNNING, SKIPPED, CANCELLED},
            RUNNING: {COMPLETED, FAILED, CANCELLED},
            COMPLETED: set(),
            FAILED: set(),
            CANCELLED: set(),
            SKIPPED: set(),
        }
    )
    routine_id = CharField(max_length=IDENTIFIER)
    agent_id = CharField(max_length=IDENTIFIER)
    owner_id = CharField(max_length=IDENTIFIER)
    scheduled_at = Moment()
    source = CharField(max_length=16)  # recurring, one-off, manual or github
    context = LongText(null=True)  # what called for it
    run_id = CharField(max_length=IDENTIFIER, null=True)
    reason = LongText(null=True)  # why it was skipped
    created_at = Moment(default=now_ms)
    updated_at = Touched()

    class Meta:
        table_name = "pulse_firings"
        indexes = (
            (("routine_id", "scheduled_at"), True),
            (("agent_id", "created_at"), False),
            (("run_id",), False),
            (("created_at",), False),
        )

    def claim(self) -> bool:
        """Insert the row; False when this slot of the routine has come up before."""
        statement, values = self.insertion()
        once = "ON CONFLICT (routine_id, scheduled_at) DO NOTHING RETURNING id"
        return db.now(f"{statement} {once}", values).fetchone() is not None

    @classmethod
    def locked(cls, firing_id: str) -> Self | None:
        """The firing under its row lock; None when it is gone."""
        text = "SELECT * FROM pulse_firings WHERE id = %s FOR NO KEY UPDATE"
        return next(iter(cls.read(text, firing_id)), None)

    @classmethod
    def of_run(cls, run_id: str) -> Self | None:
        """The firing that became this run."""
        return next(iter(cls.read("SELECT * FROM pulse_firings WHERE run_id = %s", run_id)), None)

    @classmethod
    def open_of(cls, routine_id: str, before: int) -> Sequence[Self]:
        """What a routine has under way, or waiting to begin, since before a moment."""
        text = """
            SELECT * FROM pulse_firings
            WHERE routine_id = %s AND state IN ('pending', 'running') AND created_at <= %s
        """
        return cls.read(text, routine_id, before)

    @classmethod
    def unasked(cls, for_ms: int, limit: int = 500) -> Sequence[Self]:
        """Firings that have waited for so long that their requests must have been lost."""
        text = f"""
            SELECT * FROM pulse_firings WHERE state = 'pending' AND updated_at < {CLOCK} - %s
            ORDER BY updated_at LIMIT %s
        """  # noqa: S608
        return cls.read(text, for_ms, limit)


def at_work(agent_id: str, owner_id: str, routine_id: str) -> tuple[int, int, int]:
    """How many pulses somebody has at work: of one routine, and of its agent altogether; and how
    long (ms) the agent has worked for them unasked today."""
    text = f"""
        SELECT count(*) FILTER (WHERE routine_id = %(routine)s), count(*), ({UNASKED_TODAY})
        FROM pulse_firings
        WHERE agent_id = %(agent)s AND owner_id = %(owner)s AND state = 'running'
    """  # noqa: S608
    known = {"routine": routine_id, "agent": agent_id, "owner": owner_id}
    mine, together, worked = db.now(text, known).fetchone()
    return mine, together, int(worked)


def ended(routine_id: str) -> None:
    """Count, by the commit, a run of a routine that has ended."""
    db.later(
        f"""
        UPDATE pulse_routines SET total_runs = total_runs + 1, last_run_at = {CLOCK}
        WHERE id = %s
        """,  # noqa: S608
        (routine_id,),
    )


def last_pulses(principal: Principal, agent_ids: Sequence[str]) -> dict[str, int]:
    """When each of these agents has last come to the end of a pulse, as far as one may see."""
    return _latest(principal, agent_ids, "max(last_run_at)", "last_run_at IS NOT NULL")


def next_pulses(principal: Principal, agent_ids: Sequence[str]) -> dict[str, int]:
    """When the clock next has something to look at for each of these agents."""
    return _latest(principal, agent_ids, "min(look_at)", "enabled")


def _latest(
    principal: Principal, agent_ids: Sequence[str], moment: str, condition: str
) -> dict[str, int]:
    text = f"""
        SELECT agent_id, {moment} FROM pulse_routines
        WHERE agent_id = ANY(%s) AND {condition} AND (%s::boolean OR owner_id = %s)
        GROUP BY agent_id
    """  # noqa: S608
    return dict(db.now(text, (list(agent_ids), principal.is_admin, principal.id)).fetchall())


def forget_old() -> None:
    """Drop what is over and so long ago that nobody asks for it."""
    db.execute_sql(
        f"""
        DELETE FROM pulse_firings
        WHERE created_at < {CLOCK} - %s AND state NOT IN ('pending', 'running')
        """,  # noqa: S608
        (KEPT_MS,),
    )
    db.execute_sql(
        f"""
        DELETE FROM activities
        WHERE run_id IS NULL AND type = 'pulse_skipped' AND created_at < {CLOCK} - %s
        """,  # noqa: S608
        (KEPT_MS,),
    )
