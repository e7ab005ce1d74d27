"""Model calls on the wire."""

from __future__ import annotations

from marshmallow import fields, validate

from models.llm_calls import LlmCall
from web.bodies import LARGEST, Form
from web.schemas.base import derived, made

_TOKENS = ("totalInputTokens", "totalOutputTokens", "totalCacheReadTokens")
_MORE_TOKENS = ("totalCacheWriteTokens", "totalTokens")
_FILL = ("contextUsedTokens", "contextWindowTokens", "contextPercent")

LlmCallView = made(
    "LlmCallView",
    {
        **derived(LlmCall, "id", "session_id", "run_id", "agent_id", "request_id"),
        **derived(LlmCall, "provider", "model", "key_source", "key_masked", user_id="owner_id"),
        **derived(LlmCall, "input_tokens", "output_tokens", "cache_read_tokens"),
        **derived(LlmCall, "cache_write_tokens", "total_tokens", "cost_input", "cost_output"),
        **derived(LlmCall, "cost_total", "cost_approximate", "duration_ms", "tool_call_count"),
        **derived(LlmCall, "has_thinking", "stop_reason", "context_used_tokens"),
        **derived(LlmCall, "context_window_tokens", "created_at"),
        "context_percent": fields.Integer(allow_none=True),
    },
)
_SUMS: dict[str, fields.Field] = {
    "callCount": fields.Integer(),
    **{name: fields.Integer() for name in (*_TOKENS, *_MORE_TOKENS)},
    **{name: fields.Float() for name in ("totalCost", "totalCostInput", "totalCostOutput")},
    "avgDurationMs": fields.Integer(),
    **{name: fields.Integer(allow_none=True) for name in _FILL},
}
CallSums = made("CallSums", _SUMS)
Calls = made(
    "Calls",
    {
        "calls": fields.List(fields.Nested(LlmCallView)),
        "total": fields.Integer(),
        "hasMore": fields.Boolean(),
        "summary": fields.Nested(CallSums),
    },
)
ByProvider = made("ByProvider", {"provider": fields.String(), **_SUMS})
ByModel = made("ByModel", {"provider": fields.String(), "model": fields.String(), **_SUMS})
ByAgent = made("ByAgent", {"agent_id": fields.String(), **_SUMS})
CallSummary = made(
    "CallSummary",
    {
        "summary": fields.Nested(CallSums),
        "byProvider": fields.List(fields.Nested(ByProvider)),
        "byModel": fields.List(fields.Nested(ByModel)),
        "byAgent": fields.List(fields.Nested(ByAgent)),
    },
)
FILTERS = {
    "agent_id": LlmCall.agent_id.__eq__,
    "run_id": LlmCall.run_id.__eq__,
    "session_id": LlmCall.session_id.__eq__,
    "provider": LlmCall.provider.__eq__,
    "model": LlmCall.model.__eq__,
    "key_source": LlmCall.key_source.__eq__,
    "user_id": LlmCall.owner_id.__eq__,
    "since": LlmCall.created_at.__ge__,
    "until": LlmCall.created_at.__lt__,
}


class CallFilter(Form):
    """Which calls are meant; others than your own only admins see."""

    agent_id = fields.String()
    run_id = fields.String()
    session_id = fields.String()
    provider = fields.String()
    model = fields.String()
    key_source = fields.String(validate=validate.OneOf(["personal", "admin_shared", "instance"]))
    user_id = fields.String()
    since = fields.Integer(validate=validate.Range(0, LARGEST))
    until = fields.Integer(validate=validate.Range(0, LARGEST))


class CallsForm(CallFilter):
    """A page of calls; `limit=0` answers totals and the summary only."""

    limit = fields.Integer(load_default=50, validate=validate.Range(0, 200))
    cursor = fields.String()
    offset = fields.Integer(load_default=0, validate=validate.Range(0, LARGEST))
