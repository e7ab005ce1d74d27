"""Shares on the wire."""

from __future__ import annotations

from typing import Any

from marshmallow import fields, validate

from models.config import MOST_DOLLARS
from models.shares import Share
from web.bodies import LARGEST, Flag, Form, Text, Whole
from web.schemas.base import Milliseconds, derived, made
from web.schemas.budgets import Dollars

MOST_MODELS, MOST_CALLS = 200, 2**31 - 1


def _limits() -> dict[str, fields.Field]:
    """What a share may be limited to; null says nothing."""
    expires: dict[str, Any] = {"example": None, "description": "Milliseconds; in the future"}
    models: dict[str, Any] = {"example": None, "description": "Whole ids, or how they end"}
    return {
        "expires_at": Whole(
            data_key="expiresAt",
            allow_none=True,
            validate=validate.Range(1, LARGEST),
            metadata=expires,
        ),
        "allowed_models": fields.List(
            Text(required=True, validate=validate.Length(max=512)),
            data_key="allowedModels",
            allow_none=True,
            validate=validate.Length(1, MOST_MODELS),
            metadata=models,
        ),
        "daily_limit": Whole(
            data_key="dailyLimit",
            allow_none=True,
            validate=validate.Range(0, MOST_CALLS),
            metadata={"example": 100, "description": "Calls of a person in a day (UTC)"},
        ),
        "daily_cost_limit_usd": Dollars(
            data_key="dailyCostLimitUsd",
            allow_none=True,
            validate=validate.Range(0, MOST_DOLLARS),
            metadata={"example": 5.0, "description": "US dollars of a person in a day (UTC)"},
        ),
    }


ShareForm = Form.from_dict(
    {
        "provider_id": Text(
            data_key="providerId",
            required=True,
            validate=validate.Length(max=64),
            metadata={"example": "openai"},
        ),
        "target_user_id": fields.String(
            data_key="targetUserId",
            allow_none=True,
            validate=validate.Length(1, 128),
            metadata={"example": None, "description": "Null: everybody"},
        ),
        **_limits(),
    },
    name="ShareForm",
)
ShareChange = Form.from_dict(
    {
        **_limits(),
        "clear_expires_at": Flag(data_key="clearExpiresAt"),
        "clear_allowed_models": Flag(data_key="clearAllowedModels"),
        "clear_daily_limit": Flag(data_key="clearDailyLimit"),
        "clear_daily_cost_limit_usd": Flag(data_key="clearDailyCostLimitUsd"),
    },
    name="ShareChange",
)
_MODELS = fields.List(fields.String(), attribute="allowed_models", allow_none=True)
ShareView = made(
    "ShareView",
    {
        **derived(Share, "id", providerId="provider_id"),
        "adminUserId": fields.String(attribute="admin_user_id", allow_none=True),
        "targetUserId": fields.String(attribute="target_user_id", allow_none=True),
        "createdAt": Milliseconds(attribute="created_at"),
        "expiresAt": Milliseconds(attribute="expires_at", allow_none=True),
        "allowedModels": _MODELS,
        **derived(Share, dailyLimit="daily_limit", dailyCostLimitUsd="daily_cost_limit_usd"),
    },
)
ShareRevoked = made(
    "ShareRevoked",
    {"status": fields.String(metadata={"example": "revoked"}), "id": fields.String()},
)
TopUserOfShare = made(
    "TopUserOfShare",
    {
        "userId": fields.String(),
        "callsToday": fields.Integer(),
        "costTodayUsd": fields.Float(),
    },
)
UsageOfShare = made(
    "UsageOfShare",
    {
        "id": fields.String(attribute="share.id"),
        "providerId": fields.String(attribute="share.provider_id"),
        "targetUserId": fields.String(attribute="share.target_user_id", allow_none=True),
        "dailyLimit": fields.Integer(attribute="share.daily_limit", allow_none=True),
        "dailyCostLimitUsd": fields.Float(attribute="share.daily_cost_limit_usd", allow_none=True),
        "allowedModels": fields.List(
            fields.String(), attribute="share.allowed_models", allow_none=True
        ),
        "callsToday": fields.Integer(attribute="calls_today"),
        "costTodayUsd": fields.Float(attribute="cost_today_usd"),
        "limitExceeded": fields.Boolean(attribute="limit_exceeded"),
        "exceededReason": fields.String(attribute="exceeded_reason", allow_none=True),
        "topUsers": fields.List(fields.Nested(TopUserOfShare), attribute="top_users"),
    },
)
UsageOfShares = made("UsageOfShares", {"shares": fields.List(fields.Nested(UsageOfShare))})
