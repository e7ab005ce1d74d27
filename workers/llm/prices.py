"""What a reply cost and how long a conversation may be, as far as genai-prices knows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import genai_prices
from genai_prices.data_snapshot import get_snapshot
from genai_prices.types import ModelInfo, ModelPrice, TieredPrices

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
# What text may cost, by the names genai-prices has for it; what is read from a cache costs less.
INPUT = ("input_mtok", "cache_write_mtok", "cache_write_5m_mtok")
OUTPUT = ("output_mtok", "output_reasoning_mtok")
LONGEST_CALL = timedelta(hours=1)  # a price that changes meanwhile is the dearer one
MILLION = 1_000_000


@dataclass(frozen=True)
class Rates:
    """The most a call can cost in US dollars: per token sent, per token answered, and in itself."""

    input: Decimal
    output: Decimal
    call: Decimal

    def cost(self, input_tokens: int, output_tokens: int) -> Decimal:
        """The most that a call with so many tokens costs."""
        return self.call + self.input * input_tokens + self.output * output_tokens

    def affordable(self, usd: Decimal, input_tokens: int) -> int | None:
        """How many tokens a call may answer for `usd` at most; None: as many as it likes."""
        left = usd - self.cost(input_tokens, 0)
        if left >= 0 and not self.output:
            return None
        return int(left / self.output) if left > 0 else 0


def make_ready() -> None:
    """Read what genai-prices knows, which is done once and takes a while."""
    get_snapshot()


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


def rates(provider: str, model: str, input_tokens: int) -> Rates | None:
    """What a call that sends at most `input_tokens` can cost; None when no price is known.

    Nothing is taken off for cached tokens, writing them to the cache is added, and whatever the
    model thinks counts as answered.
    """
    if provider in FREE:
        return Rates(Decimal(0), Decimal(0), Decimal(0))
    known = _model(provider, model)
    now = datetime.now(UTC)
    told = [known.get_prices(at) for at in (now, now + LONGEST_CALL)] if known else []
    if not any(price.input_mtok is not None for price in told):
        return None
    sent, answered = (_dearest(told, names, input_tokens) for names in (INPUT, OUTPUT))
    call = _dearest(told, ("requests_kcount",), input_tokens)
    return Rates(sent / MILLION, answered / MILLION, call / 1000)


def worst_case(provider: str, model: str, input_tokens: int, output_tokens: int) -> Decimal | None:
    """The most US dollars that a call with so many tokens costs; None when no price is known."""
    found = rates(provider, model, input_tokens)
    return None if found is None else found.cost(input_tokens, output_tokens)


def _dearest(told: Sequence[ModelPrice], names: Sequence[str], input_tokens: int) -> Decimal:
    """The highest of these prices in any tier that so many tokens can get into."""
    found = [getattr(prices, name) for prices in told for name in names]
    return max((_highest(price, input_tokens) for price in found), default=Decimal(0))


def _highest(price: Decimal | TieredPrices | None, input_tokens: int) -> Decimal:
    if isinstance(price, TieredPrices):
        entered = [tier.price for tier in price.tiers if tier.start < input_tokens]
        return max([price.base, *entered])
    return price or Decimal(0)


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
