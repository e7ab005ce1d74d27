"""What replies cost, and how long conversations may be."""

from __future__ import annotations

import pytest

from workers.llm.base import Price, Usage
from workers.llm.prices import price, window


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
