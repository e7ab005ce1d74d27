"""What replies cost, and how long conversations may be."""

from __future__ import annotations

from decimal import Decimal

import pytest
from genai_prices.data_snapshot import get_snapshot
from hypothesis import given, strategies

from workers.llm.base import Price, Usage
from workers.llm.prices import price, rates, window, worst_case


def test_a_known_price_counts_cached_tokens_for_less() -> None:
    full = price("anthropic", "claude-sonnet-4-6", Usage(input=1_000_000, output=1000))
    cached = price(
        "anthropic", "claude-sonnet-4-6", Usage(input=1_000_000, output=1000, cache_read=900_000)
    )

    assert full.input is not None
    assert full.output is not None
    assert full.total == pytest.approx(full.input + full.output)
    assert not full.approximate
    assert cached.total is not None
    assert full.total is not None
    assert cached.total < full.total / 2


def test_an_unknown_price_is_no_price_and_says_so() -> None:
    assert price("custom-den", "m", Usage(1, 1)) == Price(None, None, None, approximate=True)
    assert price("openai", "no-such-model", Usage(1, 1)).total is None


def test_estimated_tokens_make_an_approximate_price() -> None:
    assert price("openai", "gpt-4o", Usage(1000, 10, approximate=True)).approximate


def test_figures_that_contradict_each_other_have_no_price() -> None:
    assert price("anthropic", "claude-sonnet-4-6", Usage(10, 1, cache_read=500)).total is None


@pytest.mark.parametrize("provider", ["local", "scripted", "ollama"])
def test_models_of_ones_own_cost_nothing(provider: str) -> None:
    assert price(provider, "any", Usage(10**6, 10**6)) == Price(0.0, 0.0, 0.0, approximate=False)


@pytest.mark.parametrize(
    ("name", "least"),
    [
        (("anthropic", "claude-sonnet-4-6"), 200_000),
        (("google", "gemini-2.5-pro"), 1_000_000),
        (("openrouter", "z-ai/glm-4.7"), 200_000),
        (("custom-den", "something"), 128_000),
    ],
)
def test_windows_are_known_or_assumed(name: tuple[str, str], least: int) -> None:
    assert window(*name) >= least


def priced_models() -> list[tuple[str, str]]:
    return [
        (provider.id, model.id)
        for provider in get_snapshot().providers
        for model in provider.models
        if worst_case(provider.id, model.id, 1, 1) is not None
    ]


@given(
    model=strategies.deferred(lambda: strategies.sampled_from(priced_models())),
    figures=strategies.tuples(*[strategies.integers(0, 1_200_000)] * 4),
    above=strategies.tuples(*[strategies.integers(0, 300_000)] * 2),
)
def test_no_reply_costs_more_than_its_worst_case(
    model: tuple[str, str], figures: tuple[int, ...], above: tuple[int, int]
) -> None:
    """Whatever was cached, and however far above the truth the bounds were."""
    fresh, read, written, output = figures
    used = Usage(fresh + read + written, output, read, written)
    paid = price(*model, used).total
    assert paid is not None

    worst = worst_case(*model, used.input + above[0], output + above[1])

    assert worst is not None
    assert paid <= float(worst) + 1e-12


def test_the_worst_case_writes_the_cache_and_takes_nothing_off() -> None:
    worst = worst_case("anthropic", "claude-sonnet-4-6", 1_000_000, 1_000)

    assert worst == Decimal("3.75") + Decimal("0.015")


def test_the_worst_case_of_an_unknown_model_is_unknown() -> None:
    assert worst_case("custom-den", "m", 1, 1) is None
    assert worst_case("openai", "no-such-model", 1, 1) is None
    assert worst_case("local", "any", 10**9, 10**9) == 0


@given(strategies.integers(0, 10**6), strategies.decimals(0, 10, places=6))
def test_what_is_affordable_is_not_dearer_than_allowed(sent: int, usd: Decimal) -> None:
    known = rates("openai", "gpt-4o", sent)
    assert known is not None
    answer = known.affordable(usd, sent)

    assert answer is not None
    assert answer == 0 or known.cost(sent, answer) <= usd < known.cost(sent, answer + 1)
