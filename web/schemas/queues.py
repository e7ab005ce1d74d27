"""What waits for agents, and what they have in hand, on the wire."""

from __future__ import annotations

from typing import Any

from marshmallow import fields, validate

from models.base import now_ms
from models.presence import Presence
from models.steps import LEASE_MS, Step
from web.bodies import Flag, Form, Text
from web.schemas.base import Milliseconds, made

Waiting = made(
    "Waiting",
    {
        "id": fields.String(),
        "runId": fields.String(),
        "step": fields.String(),
        "priority": fields.String(metadata={"example": "normal"}),
        "queuedAt": Milliseconds(),
        "estimatedDuration": fields.Integer(allow_none=True),
    },
)
WaitingList = made(
    "WaitingList",
    {
        "agentId": fields.String(),
        "items": fields.List(fields.Nested(Waiting)),
        "length": fields.Integer(),
        "totalItems": fields.Integer(),
    },
)
Withdrawn = made("Withdrawn", {"cancelled": fields.Boolean()})
Cleared = made("Cleared", {"cleared": fields.Integer()})
WorkLock = made(
    "WorkLock",
    {
        "key": fields.String(metadata={"example": "run_5f0c9a1b2c3d4e5f/IMPLEMENT"}),
        "sessionId": fields.String(allow_none=True),
        "description": fields.String(metadata={"example": "IMPLEMENT"}),
        "acquiredAt": Milliseconds(),
        "ttlSeconds": fields.Integer(),
        "remainingSeconds": fields.Integer(),
    },
)
WorkLedger = made(
    "WorkLedger",
    {
        "agentId": fields.String(),
        "locks": fields.List(fields.Nested(WorkLock)),
        "count": fields.Integer(),
    },
)


class WithdrawForm(Form):
    """Which step to take out of the queue."""

    itemId = Text(required=True)


class ClearForm(Form):
    """Clearing ends runs, so it has to be meant."""

    confirm = Flag(required=True, validate=validate.Equal(True))


def waiting_list(agent_id: str, steps: list[Step]) -> dict[str, Any]:
    """What an agent has before it."""
    items = [
        {
            "id": step.id,
            "runId": step.run_id,
            "step": step.step_id,
            "priority": urgency(step.priority),
            "queuedAt": step.created_at,
            "estimatedDuration": None,
        }
        for step in steps
    ]
    return {"agentId": agent_id, "items": items, "length": len(items), "totalItems": len(items)}


def urgency(priority: int) -> str:
    """A priority in words."""
    return "urgent" if priority > 1 else "high" if priority > 0 else "normal"


def work_ledger(presence: Presence) -> dict[str, Any]:
    """What an agent works on: each step is its own until the lease runs out."""
    locks = [
        {
            "key": f"{step.run_id}/{step.step_id}",
            "sessionId": step.session_id,
            "description": step.step_id,
            "acquiredAt": step.started_at,
            "ttlSeconds": LEASE_MS // 1000,
            "remainingSeconds": max(step.leased_until - now_ms(), 0) // 1000,
        }
        for step in presence.active
    ]
    return {"agentId": presence.agent_id, "locks": locks, "count": len(locks)}
