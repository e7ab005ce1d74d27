"""Budgets on the wire."""

from __future__ import annotations

from typing import Any

from marshmallow import fields, validate

from models.budgets import Budget
from models.config import MOST_DOLLARS, MOST_TOKENS
from web.bodies import Form, Text, Whole
from web.schemas.base import derived, made


class Dollars(fields.Float):
    """An amount of US dollars: a number and nothing that merely looks like one."""

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.make_error("invalid")
        return super()._deserialize(value, *args, **kwargs)


class BudgetForm(Form):
    """What may be spent; null takes a limit away, what is not named stays as it is."""

    limit_usd = Dollars(
        data_key="budget_usd",
        allow_none=True,
        validate=validate.Range(0, MOST_DOLLARS, min_inclusive=False),
        metadata={"description": "US dollars", "example": 5.0},
    )
    limit_tokens = Whole(
        data_key="budget_tokens",
        allow_none=True,
        validate=validate.Range(1, MOST_TOKENS),
        metadata={"description": "Tokens sent and answered", "example": 1_000_000},
    )


class DayForm(BudgetForm):
    """Whose limits of today to change."""

    user_id = Text(required=True, validate=validate.Length(max=128))


BudgetView = made(
    "BudgetView",
    {
        **derived(Budget, "limit_usd", "limit_tokens", "spent_usd", "spent_tokens"),
        **derived(Budget, "reserved_usd", "reserved_tokens"),
    },
)
DayView = made(
    "DayView",
    {
        "user_id": fields.String(attribute="holder"),
        "day": fields.String(metadata={"description": "UTC", "example": "2026-11-22"}),
        **BudgetView._declared_fields,
    },
)
