"""Pulse routines on the wire (runs.md section 15 of the contract)."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

from flask import g
from marshmallow import fields, validate

from models import routines
from models.agents import Agent
from models.base import IDENTIFIER, database_ms
from models.routines import Routine
from models.timetable import MINUTE_MS, Due, Slot, clashes
from web.bodies import Flag, Form, Name, Whole
from web.resources import visible
from web.schemas.base import Free, Milliseconds, derived, made

LONGEST = 24_000  # characters of instructions
MOST_NAMED = 100  # columns, tools, stages, kinds of work
MOST_TOLD = 2_000  # pulses of a timeline
TOGETHER_MS = 2 * MINUTE_MS  # pulses so close together compete
CRITICAL = 4  # agents at once
NULLABLE = frozenset(name for name, field in Routine._meta.fields.items() if field.null)
CLEARED = ("planning_model", "executor_model", "tools", "stage_affinity", "task_work_types")
LISTS = {
    "pulseColumns": ("pulse_columns", "Ready"),
    "tools": ("tools", "claim_task"),
    "stageAffinity": ("stage_affinity", "review"),
    "taskWorkTypes": ("task_work_types", "bugfix"),
}
NIGHT = {"type": "recurring", "label": "Night", "startTime": "22:00", "endTime": "06:00"}


def _names(example: str, **options: Any) -> fields.List:
    return fields.List(fields.String(metadata={"example": example}), **options)


RoutineView = made(
    "Routine",
    {
        **derived(Routine, "id"),
        "agentId": fields.String(attribute="agent_id"),
        **derived(Routine, "name", "description", "instructions", "enabled", "timezone"),
        **derived(Routine, intervalMinutes="interval_minutes", offsetMinutes="offset_minutes"),
        "blackouts": fields.List(Free(metadata={"example": NIGHT})),
        "oneOffs": _names("2026-12-24T18:00:00Z", attribute="one_offs"),
        **derived(Routine, timeoutMs="timeout_ms", maxConcurrent="max_concurrent"),
        **derived(Routine, planningModel="planning_model", executorModel="executor_model"),
        **derived(Routine, executorTimeoutSec="executor_timeout_sec"),
        **{
            wire: _names(example, attribute=name, allow_none=True)
            for wire, (name, example) in LISTS.items()
        },
        **derived(Routine, sortOrder="sort_order", lastRunAt="last_run_at", totalRuns="total_runs"),
        **derived(Routine, "color", createdAt="created_at", updatedAt="updated_at"),
        "skippedInARow": fields.Integer(attribute="skipped"),
        "nextLookAt": Milliseconds(attribute="look_at"),
    },
)
Routines = made("Routines", {"routines": fields.List(fields.Nested(RoutineView))})
RoutineDeleted = made(
    "RoutineDeleted",
    {"status": fields.String(metadata={"example": "deleted"}), "id": fields.String()},
)
Toggled = made("RoutineToggled", derived(Routine, "id", "enabled"))
Triggered = made(
    "RoutineTriggered",
    {
        "status": fields.String(metadata={"example": "triggered"}),
        "routineId": fields.String(),
        "routineName": fields.String(metadata={"example": "Morning round"}),
    },
)
Reordered = made("RoutinesReordered", {"status": fields.String(metadata={"example": "reordered"})})
Recorded = made(
    "RunRecorded",
    {
        "status": fields.String(metadata={"example": "recorded"}),
        "routineId": fields.String(),
        "lastRunAt": Milliseconds(),
    },
)
_PULSE: dict[str, fields.Field] = {
    "agentId": fields.String(),
    "scheduledAt": Milliseconds(),
    "source": fields.String(metadata={"example": "recurring"}),
}
Pulse = made(
    "Pulse",
    {
        **_PULSE,
        "status": fields.String(metadata={"example": "scheduled"}),
        "routineId": fields.String(),
        "routineName": fields.String(metadata={"example": "Morning round"}),
        "routineColor": fields.String(allow_none=True, metadata={"example": "#3b82f6"}),
    },
)
Clash = made(
    "PulseClash",
    {
        "windowStart": Milliseconds(),
        "windowEnd": Milliseconds(),
        "agents": fields.List(fields.Nested(made("ClashingPulse", _PULSE))),
        "severity": fields.String(metadata={"example": "warning"}),
    },
)
PulseTally = made(
    "PulseTally",
    {
        "totalPulses": fields.Integer(),
        "byAgent": fields.Dict(
            keys=fields.String(), values=fields.Integer(), metadata={"example": {"yukihiro": 1}}
        ),
        "conflictCount": fields.Integer(),
    },
)
PulseTimeline = made(
    "PulseTimeline",
    {
        "windowStart": Milliseconds(),
        "windowEnd": Milliseconds(),
        "pulses": fields.List(fields.Nested(Pulse)),
        "conflicts": fields.List(fields.Nested(Clash)),
        "summary": fields.Nested(PulseTally),
    },
)


class BlackoutForm(Form):
    """A time in which the routine rests: a time of day on some days, or once."""

    type = fields.String(required=True, validate=validate.OneOf(["recurring", "one-off"]))
    label = fields.String(validate=validate.Length(max=128), metadata={"example": "Night"})
    startTime = fields.String(validate=validate.Length(max=8), metadata={"example": "22:00"})
    endTime = fields.String(validate=validate.Length(max=8), metadata={"example": "06:00"})
    daysOfWeek = fields.List(
        Whole(validate=validate.Range(0, 6), metadata={"description": "0 is Sunday", "example": 1}),
        validate=validate.Length(max=7),
    )
    start = fields.String(
        validate=validate.Length(max=64), metadata={"example": "2026-12-24T18:00:00Z"}
    )
    end = fields.String(
        validate=validate.Length(max=64), metadata={"example": "2026-12-26T18:00:00Z"}
    )


def _model(name: str) -> fields.String:
    return fields.String(
        data_key=name,
        allow_none=True,
        validate=validate.Length(max=256),
        metadata={"example": "anthropic/claude-sonnet-4-5"},
    )


def _list(wire: str) -> fields.List:
    named = fields.String(
        validate=validate.Length(1, IDENTIFIER), metadata={"example": LISTS[wire][1]}
    )
    return fields.List(
        named, data_key=wire, allow_none=True, validate=validate.Length(max=MOST_NAMED)
    )


def _whole(name: str, least: int, most: int) -> Whole:
    limits = validate.Range(least, most)
    return Whole(data_key=name, allow_none=True, validate=limits, metadata={"example": least or 1})


class RoutineChange(Form):
    """What is to be different about a routine; null clears what may be empty."""

    name = Name(longest=routines.LONGEST_NAME, allow_none=True)
    description = fields.String(allow_none=True, validate=validate.Length(max=4_000))
    instructions = fields.String(
        allow_none=True,
        validate=validate.Length(max=LONGEST),
        metadata={"description": "{{AGENT_NAME}} and {{AGENT_EMOJI}} stand for the agent's own"},
    )
    enabled = Flag(allow_none=True)
    timezone = fields.String(
        allow_none=True, validate=validate.Length(1, 64), metadata={"example": "Europe/Berlin"}
    )
    interval_minutes = Whole(
        data_key="intervalMinutes",
        allow_none=True,
        validate=validate.Range(1, 10_080),
        metadata={"example": 30},
    )
    offset_minutes = Whole(
        data_key="offsetMinutes",
        allow_none=True,
        validate=validate.Range(0, 10_079),
        metadata={"example": 5},
    )
    blackouts = fields.List(
        fields.Nested(BlackoutForm),
        allow_none=True,
        validate=validate.Length(max=routines.MOST_BLACKOUTS),
        metadata={"example": [NIGHT]},
    )
    one_offs = fields.List(
        fields.String(
            validate=validate.Length(1, 64), metadata={"example": "2026-12-24T18:00:00Z"}
        ),
        data_key="oneOffs",
        allow_none=True,
        validate=validate.Length(max=routines.MOST_ONE_OFFS),
    )
    timeout_ms = _whole("timeoutMs", 1_000, 86_400_000)
    max_concurrent = _whole("maxConcurrent", 1, 10)
    pulse_columns = _list("pulseColumns")
    color = fields.String(
        allow_none=True, validate=validate.Length(1, 32), metadata={"example": "#3b82f6"}
    )
    planning_model = _model("planningModel")
    executor_model = _model("executorModel")
    executor_timeout_sec = _whole("executorTimeoutSec", 30, 3_600)
    tools = _list("tools")
    stage_affinity = _list("stageAffinity")
    task_work_types = _list("taskWorkTypes")


class RoutineForm(RoutineChange):
    """A new routine."""

    name = Name(longest=routines.LONGEST_NAME, required=True, metadata={"example": "Morning round"})


class OrderForm(Form):
    """Every routine of the agent, in the new order."""

    routine_ids = fields.List(
        fields.String(validate=validate.Length(1, IDENTIFIER)),
        data_key="routineIds",
        required=True,
        validate=validate.Length(max=10_000),
        metadata={"example": ["pr_5f0c9a1b2c3d4e5f"]},
    )


class WindowForm(Form):
    """How far ahead one looks."""

    hours = fields.Integer(load_default=24, validate=validate.Range(1, 168))


def changes_of(form: Mapping[str, Any]) -> dict[str, Any]:
    """The columns to write: null empties what may be empty, and leaves the rest as it is."""
    emptied = {name: None for name in CLEARED if name in form and not form[name]}
    told = {**form, **emptied}
    return {name: told[name] for name in told if told[name] is not None or name in NULLABLE}


def of_agent(agent_id: str, routine_id: str) -> Routine:
    """A routine of the agent that the caller may see; NotFound for any other."""
    routine = visible(Routine, routine_id)
    if routine.agent_id != visible(Agent, agent_id, Agent.id).id:
        raise Routine.missing(routine_id)
    return routine


def all_of(agent_id: str) -> list[Routine]:
    """The routines of an agent that the caller may see, in their order."""
    agent = visible(Agent, agent_id, Agent.id)
    mine = Routine.visible_to(g.principal).where(Routine.agent == agent.id)
    return list(mine.order_by(Routine.sort_order, Routine.created_at, Routine.id))


def timeline(hours: int) -> dict[str, Any]:
    """When the caller's routines will come up, and where several agents do at once.

    It ends earlier where there is too much to tell.
    """
    now = database_ms()
    end = now + hours * 60 * MINUTE_MS
    mine = Routine.visible_to(g.principal).where(Routine.enabled)
    ahead = heapq.merge(*(_ahead(each, now, end) for each in mine), key=lambda pair: pair[0].at)
    found = list(islice(ahead, MOST_TOLD + 1))
    if len(found) > MOST_TOLD:
        found, end = found[:MOST_TOLD], found[MOST_TOLD][0].at
    conflicts = [_clash(group) for group in clashes(_moments(found), TOGETHER_MS)]
    agents = [routine.agent_id for _, routine in found]
    tally = {name: agents.count(name) for name in sorted(set(agents))}
    return {
        "windowStart": now,
        "windowEnd": end,
        "pulses": [_pulse(slot, routine) for slot, routine in found],
        "conflicts": conflicts,
        "summary": {
            "totalPulses": len(found),
            "byAgent": tally,
            "conflictCount": len(conflicts),
        },
    }


def _ahead(routine: Routine, now: int, end: int) -> Iterator[tuple[Slot, Routine]]:
    return ((slot, routine) for slot in routine.timetable.slots(now, end))


def _moments(found: Iterable[tuple[Slot, Routine]]) -> list[Due]:
    return [(slot.at, routine.agent_id, slot.source) for slot, routine in found]


def _pulse(slot: Slot, routine: Routine) -> dict[str, Any]:
    return {
        "agentId": routine.agent_id,
        "scheduledAt": slot.at,
        "source": slot.source,
        "status": "scheduled",
        "routineId": routine.id,
        "routineName": routine.name,
        "routineColor": routine.color,
    }


def _clash(group: list[Due]) -> dict[str, Any]:
    agents = {agent for _, agent, _ in group}
    return {
        "windowStart": group[0][0],
        "windowEnd": group[-1][0],
        "agents": [
            {"agentId": agent, "scheduledAt": at, "source": source} for at, agent, source in group
        ],
        "severity": "critical" if len(agents) >= CRITICAL else "warning",
    }
