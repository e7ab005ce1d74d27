"""What model calls add up to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from peewee import SQL, fn

from models.llm_calls import LlmCall

SUMS = {
    "totalInputTokens": LlmCall.input_tokens,
    "totalOutputTokens": LlmCall.output_tokens,
    "totalCacheReadTokens": LlmCall.cache_read_tokens,
    "totalCacheWriteTokens": LlmCall.cache_write_tokens,
    "totalTokens": LlmCall.total_tokens,
    "totalCost": LlmCall.cost_total,
    "totalCostInput": LlmCall.cost_input,
    "totalCostOutput": LlmCall.cost_output,
}


def summary(calls: Any) -> dict[str, Any]:
    """The sums over a query of calls, with the newest known fill of a context window."""
    (row,) = _summed(calls).dicts()
    known = calls.where(LlmCall.context_used_tokens.is_null(False))
    newest = known.order_by(LlmCall.created_at.desc(), LlmCall.id.desc()).first()
    return _rounded(row) | {
        "contextUsedTokens": newest and newest.context_used_tokens,
        "contextWindowTokens": newest and newest.context_window_tokens,
        "contextPercent": newest and newest.context_percent,
    }


def breakdown(calls: Any) -> dict[str, Any]:
    """The sums together, per provider, per model and per agent."""
    return {
        "summary": summary(calls),
        "byProvider": grouped(calls, LlmCall.provider),
        "byModel": grouped(calls, LlmCall.provider, LlmCall.model),
        "byAgent": grouped(calls, LlmCall.agent_id),
    }


def grouped(calls: Any, *columns: Any) -> list[dict[str, Any]]:
    """The same sums per group, the dearest first."""
    rows = _summed(calls, *columns).group_by(*columns).dicts()
    empty = {"contextUsedTokens": None, "contextWindowTokens": None, "contextPercent": None}
    ordered = sorted(rows, key=lambda row: (row["totalCost"], row["totalTokens"]), reverse=True)
    return [_rounded(row) | empty for row in ordered]


def _summed(calls: Any, *columns: Any) -> Any:
    sums: Sequence[Any] = [
        fn.coalesce(fn.sum(column), 0).alias(name) for name, column in SUMS.items()
    ]
    average = fn.coalesce(fn.avg(LlmCall.duration_ms), 0).alias("avgDurationMs")
    return calls.select(*columns, fn.count(SQL("*")).alias("callCount"), *sums, average)


def _rounded(row: dict[str, Any]) -> dict[str, Any]:
    costs = {name: round(float(row[name]), 6) for name in row if name.startswith("totalCost")}
    tokens = {name: int(row[name]) for name in row if name.endswith("Tokens")}
    return row | costs | tokens | {"avgDurationMs": round(row["avgDurationMs"])}
