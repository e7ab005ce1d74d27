"""Calls of models as a worker writes them down."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from models.base import db
from models.llm_calls import LlmCall


def call(cost: str | None, at: int, tokens: int = 3, **told: Any) -> LlmCall:
    """Write a call of the owner's that cost so many dollars at a moment (ms)."""
    usual = {"agent_id": "finn", "provider": "openai", "model": "small", "owner_id": "usr_owner"}
    made = LlmCall(
        **{**usual, **told},
        created_at=at,
        input_tokens=tokens - 1,
        output_tokens=1,
        total_tokens=tokens,
        cost_total=None if cost is None else Decimal(cost),
    )
    with db.atomic():
        return made.add()
