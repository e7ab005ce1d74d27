"""What a reply cost and how long a conversation may be, as far as genai-prices knows."""

from __future__ import annotations

from collections.abc import Mapping

import genai_prices
from genai_prices.data_snapshot import get_snapshot
from genai_prices.types import ModelInfo

from workers.llm.base import Price, Usage

FREE = frozenset({"local", "scripted", "ollama", "vllm", "lmstudio"})
NAMES: Mapping[str, str] = {
    "xai": "x-ai",
    "azure-openai-responses": "azure",
    "minimax-cn": "minimax",
    "kimi-coding": "moonshotai",
}
# Where genai-prices names no window: by how the last part of the model's name begins.
WINDOWS: Mapping[str, int] = {
    "claude": 200_000,
    "gemini": 1_000_000,
    "gpt-5": 400_000,
    "gpt-4.1": 1_000_000,
    "glm-4.5": 128_000,
    "glm": 200_000,
    "kimi": 256_000,
    "minimax": 200_000,
    "grok": 256_000,
}
WINDOW = 128_000


def price(provider: str, model: str, usage: Usage) -> Price:
    """Dollars for one reply; all None when no price is known.

    Approximate when the price is unknown, or when the tokens were only estimated.
    """
    if provider in FREE:
        return Price(0.0, 0.0, 0.0, approximate=False)
    counted = genai_prices.Usage(
        input_tokens=usage.input,
        output_tokens=usage.output,
        cache_read_tokens=usage.cache_read,
        cache_write_tokens=usage.cache_write,
    )
    try:
        found = genai_prices.calc_price(
            counted, model_ref=model, provider_id=NAMES.get(provider, provider)
        )
    except (LookupError, ValueError):  # no such model; or figures that contradict each other
        return Price()
    return Price(
        float(found.input_price),
        float(found.output_price),
        float(found.total_price),
        approximate=usage.approximate,
    )


def window(provider: str, model: str) -> int:
    """The context window of a model in tokens; 128k when nobody told us."""
    known = _model(provider, model)
    if known is not None and known.context_window:
        return known.context_window
    last = model.rsplit("/", 1)[-1].lower()
    return next((size for start, size in WINDOWS.items() if last.startswith(start)), WINDOW)


def _model(provider: str, model: str) -> ModelInfo | None:
    try:
        _, found = get_snapshot().find_provider_model(
            model, None, NAMES.get(provider, provider), None
        )
    except LookupError:
        return None
    return found
