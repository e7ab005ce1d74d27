"""Sessions and timelines on the wire."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from marshmallow import ValidationError, fields, validate

from models.activities import Activity
from models.agents import Agent
from models.events import Event
from models.presence import Presence
from models.sessions import Session
from models.steps import EXECUTORS
from web.bodies import LARGEST, Form
from web.schemas.base import Free, Milliseconds, derived, made

STATES = list(Session.state.arrows)
EVENTS: Mapping[str, str] = {  # a run's event -> what a session calls it
    "agent_thinking": "thinking",
    "agent_output": "output",
    "tool_call_start": "tool_start",
    "tool_call_end": "tool_end",
    "tool_output": "tool_output",
    "turn_end": "turn_end",
    "context_compacted": "message",
    "step_started": "status",
    "step_complete": "output",
    "step_failed": "output",
}

Entry = made(
    "Entry",
    {
        "id": fields.String(),
        "agentId": fields.String(),
        "timestamp": Milliseconds(),
        "type": fields.String(metadata={"example": "work_started"}),
        "data": Free(metadata={"example": {"stepId": "IMPLEMENT"}}),
    },
)
Timeline = made(
    "Timeline", {"timeline": fields.List(fields.Nested(Entry)), "hasMore": fields.Boolean()}
)
_USE = {
    "memory": {"used": 0, "limit": 0, "unit": "MB"},
    "cpu": {"used": 0.0, "cores": 0},
    "pids": {"count": 0, "limit": 0},
}
AgentTimeline = made(
    "AgentTimeline",
    {
        "timeline": fields.List(fields.Nested(Entry)),
        "resourceUsage": fields.Dict(metadata={"example": _USE}),
    },
)
Stats = made(
    "Stats",
    {
        "sessionsToday": fields.Integer(),
        "sessionsThisWeek": fields.Integer(),
        "totalTokens": fields.Integer(),
        "totalCost": fields.Float(),
        "errorCount": fields.Integer(),
    },
)
CurrentWork = made(
    "CurrentWork",
    {
        "runId": fields.String(),
        "stepId": fields.String(),
        "stepType": fields.String(metadata={"example": "pipeline"}),
        "startedAt": Milliseconds(allow_none=True),
    },
)
PulseState = made(
    "PulseState",
    {
        "enabled": fields.Boolean(),
        "lastPulse": Milliseconds(allow_none=True),
        "nextPulse": Milliseconds(allow_none=True),
        "intervalMs": fields.Integer(),
    },
)
AgentLifecycle = made(
    "AgentLifecycle",
    {
        "state": fields.String(metadata={"example": "working"}),
        "lastActive": Milliseconds(allow_none=True),
        "queueDepth": fields.Integer(),
        "currentWork": fields.Nested(CurrentWork, allow_none=True),
        "pulse": fields.Nested(PulseState),
    },
)
SessionItem = made(
    "SessionItem",
    {
        **derived(Session, "id", "agent_id", "source", "source_id", "run_id", status="state"),
        **derived(Session, "user_prompt", "error", "model", "turn_count", "key_resolution"),
        **derived(Session, "created_at", "started_at", "completed_at"),
    },
)
SessionEvent = made(
    "SessionEvent",
    {
        "id": fields.String(),
        "event_type": fields.String(metadata={"example": "tool_start"}),
        "timestamp": Milliseconds(),
        "data": Free(metadata={"example": {"toolName": "write"}}),
    },
)
SessionView = made(
    "SessionView",
    {
        **SessionItem._declared_fields,
        **derived(Session, "output"),
        "events": fields.List(fields.Nested(SessionEvent)),
    },
)
Sessions = made(
    "Sessions",
    {
        "sessions": fields.List(fields.Nested(SessionItem)),
        "total": fields.Integer(),
        "hasMore": fields.Boolean(),
    },
)
Stopped = made(
    "Stopped",
    {
        "session_id": fields.String(),
        "status": fields.String(metadata={"example": "stopped"}),
        "message": fields.String(),
    },
)


class Words(fields.String):
    """A comma list; in a query the name may also come several times."""

    is_multiple = True

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> Any:
        text = super()._deserialize(",".join(value), *args, **kwargs)
        return [word for word in (part.strip() for part in text.split(",")) if word]


class States(Words):
    """A comma list of session states."""

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> Any:
        words = super()._deserialize(value, *args, **kwargs)
        if unknown := [word for word in words if word not in STATES]:
            raise ValidationError(f"Unknown: {unknown[0]!r}; there are {', '.join(STATES)}.")
        return words


class TimelineForm(Form):
    """Which part of the timeline is wanted."""

    agent_id = Words(metadata={"description": "Comma list of agents"})
    type = Words(metadata={"description": "Comma list of entry types"})
    since = fields.Integer(validate=validate.Range(0, LARGEST))
    until = fields.Integer(validate=validate.Range(0, LARGEST))
    limit = fields.Integer(load_default=100, validate=validate.Range(1, 500))


class ActivityForm(Form):
    """Which part of an agent's timeline is wanted."""

    since = fields.Integer(validate=validate.Range(0, LARGEST))
    limit = fields.Integer(load_default=100, validate=validate.Range(1, 500))


class SessionsForm(Form):
    """Which sessions are wanted."""

    agent_ids = Words(metadata={"description": "Comma list of agents"})
    status = States(metadata={"description": "Comma list of states"})
    limit = fields.Integer(load_default=100, validate=validate.Range(0, 500))
    cursor = fields.String()
    offset = fields.Integer(load_default=0, validate=validate.Range(0, LARGEST))


class AgentSessionsForm(SessionsForm):
    """Which of an agent's sessions are wanted."""

    limit = fields.Integer(load_default=50, validate=validate.Range(0, 500))


FILTERS = {"agent_ids": Session.agent_id.in_, "status": Session.state.in_}


def entries(found: list[Activity]) -> list[dict[str, Any]]:
    """Timeline entries."""
    return [
        {
            "id": str(entry.id),
            "agentId": entry.agent_id,
            "timestamp": entry.created_at,
            "type": entry.type,
            "data": entry.data,
        }
        for entry in found
    ]


def agent_timeline(found: list[Activity]) -> dict[str, Any]:
    """One agent's timeline; nothing measures its resources yet."""
    return {"timeline": entries(found), "resourceUsage": _USE}


def lifecycle_of(agent: Agent, presence: Presence) -> dict[str, Any]:
    """What an agent does and when it was last seen."""
    work = presence.work
    config = agent.config
    pulse = {
        "enabled": config.get("pulse_enabled", True) is not False,
        "lastPulse": presence.last_pulse,
        "nextPulse": presence.next_pulse,
        "intervalMs": config.get("pulse_interval_minutes", 30) * 60_000,
    }
    current = work and {
        "runId": work.run_id,
        "stepId": work.step_id,
        "stepType": "executor" if work.queue == EXECUTORS else "pipeline",
        "startedAt": work.started_at,
    }
    return {
        "state": presence.state,
        "lastActive": presence.last_active,
        "queueDepth": presence.queued,
        "currentWork": current,
        "pulse": pulse,
    }


def session_with(session: Session, events: list[Event]) -> dict[str, Any]:
    """A session with what happened in it."""
    return {**session.__data__, "events": [session_event(event) for event in events]}


def session_event(event: Event) -> dict[str, Any]:
    """An event of a run as its session tells it."""
    return {
        "id": str(event.seq),
        "event_type": EVENTS.get(event.type, event.type),
        "timestamp": event.created_at,
        "data": event.data,
    }
