"""What somebody has used, on the wire."""

from __future__ import annotations

from typing import Any

from marshmallow import fields, validate

from models import api_usage, tallies
from models.base import now_ms
from models.spans import DAY, LATEST, SPANS, USUAL_MS
from models.tallies import GROUPS
from web.bodies import LARGEST, Form
from web.resources import only
from web.schemas.base import Free, Milliseconds, made

_COUNTS: dict[str, fields.Field] = {
    **{
        f"total{name}Tokens": fields.Integer()
        for name in ("", "Input", "Output", "CacheRead", "CacheWrite")
    },
    "totalCost": fields.Float(metadata={"description": "US dollars"}),
    "unpricedCalls": fields.Integer(metadata={"description": "Of models without a known price"}),
}
UsageItem = made(
    "UsageItem",
    {
        "id": fields.String(metadata={"example": "run_5f0c9a1b2c3d4e5f"}),
        "type": fields.String(metadata={"example": "run"}),
        "agentId": fields.String(
            attribute="agent_id", metadata={"description": "For runs the pipeline's id"}
        ),
        "model": fields.String(allow_none=True),
        "status": fields.String(attribute="state", metadata={"example": "completed"}),
        "keyResolution": Free(attribute="key_resolution", allow_none=True),
        "createdAt": Milliseconds(attribute="created_at"),
        "completedAt": Milliseconds(attribute="completed_at", allow_none=True),
    },
)
UsageSummary = made(
    "UsageSummary",
    {
        "totalSessions": fields.Integer(),
        "totalRuns": fields.Integer(),
        "totalLlmCalls": fields.Integer(),
        **_COUNTS,
    },
)
Usage = made(
    "Usage",
    {
        "items": fields.List(fields.Nested(UsageItem)),
        "total": fields.Integer(),
        "hasMore": fields.Boolean(),
        "summary": fields.Nested(UsageSummary),
    },
)
Bucket = made(
    "UsageBucket",
    {
        "start": Milliseconds(),
        "callCount": fields.Integer(),
        **_COUNTS,
        "group": fields.String(metadata={"description": "With `group_by`; empty for none"}),
    },
)
History = made(
    "UsageHistory",
    {
        "granularity": fields.String(metadata={"example": "day"}),
        "from": Milliseconds(),
        "to": Milliseconds(),
        "buckets": fields.List(fields.Nested(Bucket)),
    },
)
FILTERS = {
    "provider": tallies.Usage.provider.__eq__,
    "model": tallies.Usage.model.__eq__,
    "agent_id": tallies.Usage.agent_id.__eq__,
    "project_id": tallies.Usage.project_id.__eq__,
    "type": tallies.Usage.type.__eq__,
}


def _type() -> fields.String:
    return fields.String(validate=validate.OneOf([tallies.CHAT, tallies.RUN]))


class UsageForm(Form):
    """Which of one's runs and chats are meant; the summary is of all that match."""

    type = _type()
    status = fields.String(metadata={"example": "completed"})
    limit = fields.Integer(load_default=50, validate=validate.Range(1, 200))
    offset = fields.Integer(load_default=0, validate=validate.Range(0, LARGEST))


class HistoryForm(Form):
    """Which calls are meant, and how they are put together.

    Buckets begin at hours, days or months of UTC; the first and the last one are told whole.
    """

    granularity = fields.String(load_default=DAY, validate=validate.OneOf(SPANS))
    first = fields.Integer(data_key="from", validate=validate.Range(0, LATEST))
    last = fields.Integer(data_key="to", validate=validate.Range(0, LATEST))
    group_by = fields.String(load_default=None, validate=validate.OneOf(list(GROUPS)))
    provider = fields.String()
    model = fields.String()
    agent_id = fields.String()
    project_id = fields.String(metadata={"description": "Empty for what belongs to no project"})
    type = _type()


def usage(owner_id: str, form: dict[str, Any]) -> dict[str, Any]:
    """A page of what somebody used, and what all that matches adds up to."""
    limit, offset = form.pop("limit"), form.pop("offset")
    mine = {**form, "user_id": owner_id}
    items = api_usage.page(mine, limit, offset)
    counts, spent = api_usage.spent(mine)
    total = sum(counts.values())
    summary = {
        **spent,
        "totalRuns": counts.get(tallies.RUN, 0),
        "totalSessions": counts.get(tallies.CHAT, 0),
        "totalLlmCalls": spent["callCount"],
    }
    more = offset + len(items) < total
    return {"items": items, "total": total, "hasMore": more, "summary": summary}


def history(mine: Any, form: dict[str, Any]) -> dict[str, Any]:
    """What calls add up to over the time."""
    span = form["granularity"]
    last = form.get("last", now_ms())
    first = form.get("first", max(0, last - USUAL_MS[span]))
    buckets = tallies.history(only(mine, form, FILTERS), span, first, last, form["group_by"])
    return {"granularity": span, "from": first, "to": last, "buckets": buckets}
