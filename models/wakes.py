"""Waking an agent: a session at once instead of whenever. Guardrails keep it from going round.

They are counted for each owner by itself: nobody's wakes can use up what others may. A wake that is
held back says why, and changes nothing else.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Self

from peewee import CharField

from models import settings
from models.agents import Agent
from models.base import CLOCK, IDENTIFIER, Model, Moment, db, id_field, now_ms
from models.principals import Principal
from models.runs import MOST_PAYERS
from models.sessions import TODAY, UNASKED_TODAY
from models.timetable import DAY_MS, MINUTE_MS

MOST_IN_SESSION = 3
REASONS = ("user_request", "blocker", "critical_finding")
BOARD = "board"  # the reason of a wake that a task's move asks for
KEPT_MS = 30 * DAY_MS


class Wake(Model):
    """Somebody asked for an agent to be woken; `suppressed` says why that was not done."""

    label = "Wake"

    id = id_field("wake_")
    target = CharField(max_length=IDENTIFIER)
    source = CharField(max_length=IDENTIFIER)  # an agent, or a project whose board asks
    owner_id = CharField(max_length=IDENTIFIER, null=True)
    reason = CharField(max_length=32)
    act = CharField(max_length=IDENTIFIER)  # which asks for it once
    execution_id = CharField(max_length=IDENTIFIER, null=True)
    run_id = CharField(max_length=IDENTIFIER, null=True)
    suppressed = CharField(max_length=256, null=True)
    created_at = Moment(default=now_ms)

    class Meta:
        table_name = "wakes"
        indexes = (
            (("act",), True),
            (("target", "owner_id", "created_at"), False),
            (("execution_id",), False),
            (("created_at",), False),
        )

    @classmethod
    def asked(cls, act: str) -> Self | None:
        """The wake that this act asked for."""
        return next(iter(cls.read("SELECT * FROM wakes WHERE act = %s", act)), None)

    def decide(self, agent: Agent, deep: bool = False) -> bool:
        """Insert the row if this act has asked for none before; says whether to wake the agent.

        One statement under the agent's lock counts and decides: of many at once as many are let
        through as may. What is `deep` in a row of runs that asked for one another wakes nobody.
        """
        Agent.lock(agent.id)
        told = ("id", "target", "source", "owner_id", "reason", "act", "execution_id")
        known = {name: getattr(self, name) for name in told}
        known |= {**limits(agent), "most": MOST_IN_SESSION}
        known |= {"agent": agent.id, "owner": self.owner_id, "deep": deep, "row": MOST_PAYERS}
        row = db.now(_DECIDE, known).fetchone()
        if row is None:
            return False
        (self.suppressed,) = row
        return self.suppressed is None


_DECIDE = f"""
    WITH clock AS (
        SELECT {CLOCK} AS now, {TODAY} AS day, ({UNASKED_TODAY}) AS worked
    ), past AS (
        SELECT max(created_at) AS latest,
            count(*) FILTER (WHERE created_at >= day) AS today,
            count(*) FILTER (WHERE created_at >= day AND source = %(source)s) AS pair
        FROM wakes, clock
        WHERE target = %(target)s AND owner_id IS NOT DISTINCT FROM %(owner_id)s::text
          AND suppressed IS NULL AND created_at >= least(day, now - %(cooldown)s::bigint)
    ), session AS (
        SELECT count(*) AS wakes FROM wakes
        WHERE execution_id = %(execution_id)s::text AND suppressed IS NULL
    )
    INSERT INTO wakes (id, target, source, owner_id, reason, act, execution_id, run_id,
        suppressed, created_at)
    SELECT %(id)s, %(target)s, %(source)s, %(owner_id)s, %(reason)s, %(act)s, %(execution_id)s,
        NULL, CASE
            WHEN NOT %(enabled)s::boolean THEN 'waking is switched off'
            WHEN %(deep)s::boolean
                THEN %(row)s::bigint || ' runs have asked for one another in a row'
            WHEN session.wakes >= %(most)s::bigint
                THEN 'a session may wake others ' || %(most)s::bigint || ' times'
            WHEN latest > now - %(cooldown)s::bigint
                THEN 'it was woken ' || ((now - latest) / 1000) || ' seconds ago'
            WHEN today >= %(most_a_day)s::bigint THEN 'it was woken ' || today || ' times today'
            WHEN pair >= %(most_of_pair)s::bigint
                THEN 'it was woken ' || pair || ' times today from the same side'
            WHEN worked >= %(most_worked)s::bigint
                THEN 'it has worked ' || worked::bigint / 60000
                    || ' minutes today, as long as it may'
        END, now
    FROM clock, past, session
    ON CONFLICT (act) DO NOTHING RETURNING suppressed
"""  # noqa: S608


def limits(agent: Agent) -> dict[str, Any]:
    """How often an agent may be woken: what its config says, else the server's settings."""
    own = (agent.config.get("coordination") or {}).get("wake_guardrails") or {}
    usual = settings.told()
    return {
        "enabled": usual["wakeEnabled"],
        "cooldown": 1_000 * int(own.get("cooldown_seconds", usual["wakeCooldownSec"])),
        "most_a_day": int(own.get("max_wakes_per_day", usual["maxWakesPerDay"])),
        "most_worked": agent.daily_minutes * MINUTE_MS,
        "most_of_pair": int(own.get("max_wakes_per_pair_per_day", usual["maxWakesPerPairPerDay"])),
    }


class Day(NamedTuple):
    """A day (UTC): `date` as people write it, how many wakes, and when the last one was (ms)."""

    date: str
    number: int
    latest: int | None


def today(principal: Principal, agent_id: str) -> Day:
    """How often an agent was woken this UTC day, and when last, as far as one may see."""
    text = f"""
        WITH clock AS MATERIALIZED (SELECT {TODAY} AS day)
        SELECT to_char(to_timestamp(min(day) / 1000) AT TIME ZONE 'UTC', 'YYYY-MM-DD'),
            count(created_at) FILTER (WHERE created_at >= day), max(created_at)
        FROM clock LEFT JOIN wakes ON target = %s AND suppressed IS NULL
            AND (%s::boolean OR owner_id = %s)
    """  # noqa: S608
    return Day(*db.now(text, (agent_id, principal.is_admin, principal.id)).fetchone())


def forget_old() -> None:
    """Drop what is so long ago that no guardrail counts it."""
    db.execute_sql(f"DELETE FROM wakes WHERE created_at < {CLOCK} - %s", (KEPT_MS,))  # noqa: S608
