"""Agents on the wire."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flask import g
from marshmallow import fields, validate

from models import sessions, wakes
from models.agents import DAILY_MINUTES, FILES, Agent
from models.presence import Presence
from models.runs import Run
from models.timetable import MINUTE_MS
from web.bodies import LARGEST, Flag, Form, Whole
from web.schemas.base import Milliseconds, derived, made, opened

THINKING = ("off", "minimal", "low", "medium", "high", "xhigh")
SETTINGS: Mapping[str, tuple[str, Any]] = {  # wire key -> (key of config.yml, default)
    "model": ("model", ""),
    "thinkingModel": ("thinking_model", ""),
    "planningModel": ("planning_model", ""),
    "executorModel": ("executor_model", ""),
    "thinkingLevel": ("thinking_level", "off"),
    "thinkingModelThinkingLevel": ("thinking_model_thinking_level", "off"),
    "threadMode": ("thread_mode", "passive"),
    "pulseEnabled": ("pulse_enabled", True),
    "pulseIntervalMinutes": ("pulse_interval_minutes", 30),
    "pulseColumns": ("pulse_columns", []),
    "pulseContainerTimeoutMs": ("pulse_container_timeout_ms", 120_000),
    "timeout": ("timeout", None),
    "maxRetries": ("max_retries", None),
}
GUARDRAILS: Mapping[str, tuple[str, int]] = {
    "cooldownSeconds": ("cooldown_seconds", 300),
    "maxWakesPerDay": ("max_wakes_per_day", 12),
    "maxDailySessionMinutes": ("max_daily_session_minutes", DAILY_MINUTES),
    "maxWakesPerPairPerDay": ("max_wakes_per_pair_per_day", 5),
}

_ITEM: dict[str, fields.Field] = {
    **derived(Agent, "id", "name", "emoji", "role", "description"),
    "persona_files": fields.List(fields.String(), metadata={"example": ["IDENTITY.md"]}),
    "slack_connected": fields.Boolean(),
    "memory_count": fields.Integer(),
    "model": fields.String(allow_none=True),
}
_FILES = fields.Dict(
    keys=fields.String(), values=fields.String(), metadata={"example": {"IDENTITY.md": "# Eric"}}
)
AgentItem = made("AgentItem", _ITEM)
AgentView = made(
    "AgentView", {**_ITEM, "files": _FILES, "soul_preview": fields.String(allow_none=True)}
)
Work = made("Work", {"step": fields.String(), "runId": fields.String()})
_PRESENT: dict[str, fields.Field] = {
    "state": fields.String(metadata={"example": "working"}),
    "currentWork": fields.Nested(Work, allow_none=True),
    "queueLength": fields.Integer(),
    "lastActive": Milliseconds(allow_none=True),
    "lastPulse": Milliseconds(allow_none=True),
    "pulseEnabled": fields.Boolean(),
    "slackConnected": fields.Boolean(),
    "unreadCount": fields.Integer(),
    "installedTools": fields.List(fields.String()),
}
AgentPresence = made("AgentPresence", {**derived(Agent, "id", "name", "emoji", "role"), **_PRESENT})
Tally = made(
    "Tally",
    {name: fields.Integer() for name in ("total", "idle", "working", "thinking", "totalQueued")},
)
Presences = made(
    "Presences",
    {"agents": fields.List(fields.Nested(AgentPresence)), "summary": fields.Nested(Tally)},
)
AgentStatus = made(
    "AgentStatus",
    {
        **_ITEM,
        "status": fields.String(metadata={"example": "working"}),
        "last_seen": Milliseconds(allow_none=True),
        "active_steps": fields.List(fields.String()),
        "current_run": fields.String(allow_none=True),
    },
)
AgentRun = made(
    "AgentRun",
    {
        **derived(Run, "pipeline_id", "task", "created_at", run_id="id", status="state"),
        "step_ids": fields.List(fields.String()),
    },
)
AgentConfig = opened(
    "AgentConfig",
    {
        "model": fields.String(),
        "thinkingLevel": fields.String(validate=validate.OneOf(THINKING)),
        "pulseEnabled": fields.Boolean(),
    },
)
Configured = made(
    "Configured",
    {"status": fields.String(metadata={"example": "updated"}), "config": fields.Dict()},
)
WrittenFile = made(
    "WrittenFile",
    {
        "status": fields.String(metadata={"example": "updated"}),
        "filename": fields.String(metadata={"example": "IDENTITY.md"}),
        "size": fields.Integer(),
    },
)

WakeStats = made(
    "WakeStats",
    {
        "agentId": fields.String(),
        "wakesToday": fields.Integer(metadata={"example": 0}),
        "date": fields.String(metadata={"example": "2026-11-22"}),
        "lastWakeTime": Milliseconds(allow_none=True),
        "maxWakesPerDay": fields.Integer(),
        "cooldownSeconds": fields.Integer(),
        "maxDailySessionMinutes": fields.Integer(),
        "sessionMinutesToday": fields.Integer(
            metadata={"example": 12, "description": "In pulses and wakes of the caller's"}
        ),
    },
)
_CHECKS = ("inbox", "consolidateMemories", "updateWorkspaceDocs", "cleanupStaleFiles")
PulseStatus = made(
    "PulseStatus",
    {
        "enabled": fields.Boolean(),
        "intervalMinutes": fields.Integer(),
        "timeoutMs": fields.Integer(),
        "lastPulse": fields.Dict(allow_none=True, metadata={"example": None}),
        "nextPulse": Milliseconds(allow_none=True),
        "checks": fields.Dict(
            keys=fields.String(), values=fields.Boolean(), metadata={"example": {}}
        ),
    },
)
AgentProject = made(
    "AgentProject",
    {
        "project_id": fields.String(),
        "agent_id": fields.String(),
        "role": fields.String(metadata={"example": "member"}),
        "assigned_at": Milliseconds(),
        "assigned_by": fields.String(allow_none=True),
        "project_name": fields.String(),
        "project_status": fields.String(),
        "project_description": fields.String(allow_none=True),
    },
)


class GuardrailsForm(Form):
    """How often others may wake an agent."""

    cooldownSeconds = Whole(validate=validate.Range(0, LARGEST))
    maxWakesPerDay = Whole(validate=validate.Range(0, LARGEST))
    maxDailySessionMinutes = Whole(validate=validate.Range(0, LARGEST))
    maxWakesPerPairPerDay = Whole(validate=validate.Range(0, LARGEST))


class CoordinationForm(Form):
    """How an agent's sessions share its time."""

    maxConcurrentPulseSessions = Whole(validate=validate.Range(1, 1_000))
    wakeGuardrails = fields.Nested(GuardrailsForm)


class ConfigForm(Form):
    """The settings to change; the others stay."""

    model = fields.String(validate=validate.Length(max=256))
    thinkingModel = fields.String(validate=validate.Length(max=256))
    planningModel = fields.String(validate=validate.Length(max=256))
    executorModel = fields.String(validate=validate.Length(max=256))
    thinkingLevel = fields.String(validate=validate.OneOf(THINKING))
    thinkingModelThinkingLevel = fields.String(validate=validate.OneOf(THINKING))
    threadMode = fields.String(validate=validate.OneOf(["passive", "active"]))
    pulseEnabled = Flag()
    pulseIntervalMinutes = Whole(validate=validate.Range(1, 525_600))
    pulseColumns = fields.List(fields.String(validate=validate.Length(max=256)))
    pulseContainerTimeoutMs = Whole(validate=validate.Range(1, LARGEST))
    timeout = Whole(validate=validate.Range(1, LARGEST))
    maxRetries = Whole(validate=validate.Range(1, 1_000))
    coordination = fields.Nested(CoordinationForm)


class FileForm(Form):
    """The whole text of a persona file."""

    content = fields.String(required=True, validate=validate.Length(max=1_000_000))


def summarised(row: dict[str, Any]) -> dict[str, Any]:
    """An agent in a list."""
    names = [name for name in FILES if name in row["file_names"]]
    return {**row, "persona_files": names, "slack_connected": False, "memory_count": 0}


def described(agent: Agent) -> dict[str, Any]:
    """An agent with its files."""
    return {
        **summarised(agent.__data__ | {"file_names": agent.files, "model": agent.model}),
        "files": agent.files,
        "soul_preview": (agent.files.get("SOUL.md") or "")[:500] or None,
    }


def status_of(agent: Agent, presence: Presence) -> dict[str, Any]:
    """One agent and what it does."""
    return {
        **described(agent),
        "status": presence.state,
        "last_seen": presence.last_active,
        "active_steps": [step.step_id for step in presence.in_hand],
        "current_run": presence.work.run_id if presence.work else None,
    }


def present(rows: list[dict[str, Any]], presences: Mapping[str, Presence]) -> dict[str, Any]:
    """All agents and what they do."""
    shown = [row | _presence(presences[row["id"]], row) for row in rows]
    working = sum(agent["state"] == "working" for agent in shown)
    tally = {"total": len(shown), "working": working, "idle": len(shown) - working, "thinking": 0}
    queued = sum(agent["queueLength"] for agent in shown)
    return {"agents": shown, "summary": {**tally, "totalQueued": queued}}


def _presence(presence: Presence, row: dict[str, Any]) -> dict[str, Any]:
    work = presence.work
    return {
        "state": presence.state,
        "currentWork": {"step": work.step_id, "runId": work.run_id} if work else None,
        "queueLength": presence.queued,
        "lastActive": presence.last_active,
        "lastPulse": presence.last_pulse,
        "pulseEnabled": row["pulse_enabled"] is not False,
        "slackConnected": False,
        "unreadCount": presence.unread,
        "installedTools": [],
    }


def settings_of(agent: Agent) -> dict[str, Any]:
    """An agent's config in the names of the wire; nothing when it has none."""
    config = agent.config
    if not config:
        return {}
    plain = {wire: config.get(key, default) for wire, (key, default) in SETTINGS.items()}
    shared = config.get("coordination") or {}
    rails = shared.get("wake_guardrails") or {}
    return {
        **{wire: value for wire, value in plain.items() if value is not None},
        "coordination": {
            "maxConcurrentPulseSessions": shared.get("max_concurrent_pulse_sessions", 2),
            "wakeGuardrails": {
                wire: rails.get(key, default) for wire, (key, default) in GUARDRAILS.items()
            },
        },
    }


def changes_of(form: Mapping[str, Any]) -> dict[str, Any]:
    """The changes of a form in the names of config.yml."""
    changes = {key: form[wire] for wire, (key, _) in SETTINGS.items() if wire in form}
    shared = form.get("coordination") or {}
    rails = shared.get("wakeGuardrails") or {}
    nested: dict[str, Any] = {
        key: rails[wire] for wire, (key, _) in GUARDRAILS.items() if wire in rails
    }
    told: dict[str, Any] = {"wake_guardrails": nested} if nested else {}
    if "maxConcurrentPulseSessions" in shared:
        told["max_concurrent_pulse_sessions"] = shared["maxConcurrentPulseSessions"]
    return changes | ({"coordination": told} if told else {})


def wake_stats(agent: Agent) -> dict[str, Any]:
    """How often an agent was woken today in the caller's name, and how often it may be."""
    rails = (agent.config.get("coordination") or {}).get("wake_guardrails") or {}
    limits = {wire: rails.get(key, default) for wire, (key, default) in GUARDRAILS.items()}
    shown = ("maxWakesPerDay", "cooldownSeconds", "maxDailySessionMinutes")
    today = wakes.today(g.principal, agent.id)
    told: dict[str, Any] = {"agentId": agent.id, "date": today.date}
    told |= {"wakesToday": today.number, "lastWakeTime": today.latest}
    worked = sessions.unasked_today(agent.id, g.principal.id) // MINUTE_MS
    return told | {name: limits[name] for name in shown} | {"sessionMinutesToday": worked}


def pulse_status(agent: Agent, presence: Presence) -> dict[str, Any]:
    """How an agent is set to look around by itself, and when it has done and will do so."""
    plain = {wire: agent.config.get(key, default) for wire, (key, default) in SETTINGS.items()}
    return {
        "enabled": plain["pulseEnabled"],
        "intervalMinutes": plain["pulseIntervalMinutes"],
        "timeoutMs": plain["pulseContainerTimeoutMs"],
        "lastPulse": presence.last_pulse and _last(presence.last_pulse),
        "nextPulse": presence.next_pulse,
        "checks": dict.fromkeys((*_CHECKS, "postStatusSlack"), False),
    }


def _last(at: int) -> dict[str, Any]:
    """A pulse in the shape that clients know; its own session tells what was done in it."""
    told = {"timestamp": at, "duration": None, "summary": None}
    return {**told, "checksCompleted": 0, "checksFailed": 0, "checks": []}
