"""Agent sessions: one stretch of an agent's work, today always for one execution of a step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from peewee import CharField, IntegerField

from models.base import (
    CLOCK,
    IDENTIFIER,
    NOW,
    JsonField,
    LongText,
    Moment,
    Touched,
    db,
    id_field,
    now_ms,
)
from models.lifecycle import StateField, Stateful
from models.principals import Principal
from models.projects import of_runs
from models.runs import Run
from models.timetable import DAY_MS

STARTING, RUNNING = "starting", "running"
COMPLETED, FAILED, CANCELLED = "completed", "failed", "cancelled"
ACTIVE = (STARTING, RUNNING)
TODAY = """(extract(epoch FROM date_trunc(
    'day', clock_timestamp() AT TIME ZONE 'UTC') AT TIME ZONE 'UTC') * 1000)::bigint"""
# How long (ms) an agent has worked unasked this UTC day in somebody's name: in pulses and wakes,
# without the time it waited for others. A session lasts a day at most; `now()` is a moment that
# Postgres can plan with.
UNASKED_TODAY = f"""
    SELECT coalesce(sum(greatest(
        0, coalesce(completed_at, {CLOCK}) - greatest(started_at, {TODAY}))), 0)
    FROM sessions WHERE agent_id = %(agent)s AND owner_id IS NOT DISTINCT FROM %(owner)s::text
        AND source IN ('pulse', 'wake')
        AND created_at >= (extract(epoch FROM now()) * 1000)::bigint - {2 * DAY_MS}
"""  # noqa: S608


class Session(Stateful):
    """What an agent was asked, what it answered, and for whom."""

    label = "Session"

    id = id_field("ses_")
    state = StateField(
        {
            STARTING: {RUNNING, FAILED, CANCELLED},
            RUNNING: {COMPLETED, FAILED, CANCELLED},
            COMPLETED: set(),
            FAILED: set(),
            CANCELLED: set(),
        }
    )
    agent_id = CharField(max_length=IDENTIFIER)
    source = CharField(max_length=32, default="pipeline")
    source_id = CharField(max_length=IDENTIFIER, null=True)
    run_id = CharField(max_length=IDENTIFIER, null=True)
    execution_id = CharField(max_length=IDENTIFIER, null=True)
    owner_id = CharField(max_length=IDENTIFIER, null=True)
    user_prompt = LongText(null=True)
    output = LongText(null=True)
    error = LongText(null=True)
    model = CharField(max_length=256, null=True)
    turn_count = IntegerField(default=0)
    key_resolution = JsonField(null=True)
    created_at = Moment(default=now_ms)
    updated_at = Touched()
    started_at = Moment(null=True)
    completed_at = Moment(null=True)

    class Meta:
        table_name = "sessions"
        indexes = (
            (("agent_id", "created_at", "id"), False),
            (("state", "created_at", "id"), False),
            (("owner_id", "created_at", "id"), False),
            (("execution_id",), False),
            (("run_id",), False),
        )

    @classmethod
    def visible_to(cls, principal: Principal) -> Any:
        """Its owner, the members of its run's project, and admins."""
        return of_runs(cls, Run, principal)


def unasked_today(agent_id: str, owner_id: str) -> int:
    """How long (ms) an agent has worked unasked this UTC day in somebody's name."""
    known = {"agent": agent_id, "owner": owner_id}
    return int(db.now(UNASKED_TODAY, known).fetchone()[0])


def close(execution_ids: Sequence[str], state: str, error: str | None = None) -> None:
    """End whatever sessions of these executions are still open."""
    ended = {"error": error, "completed_at": NOW}
    Session.move_all(state, "execution_id", execution_ids, **ended)
