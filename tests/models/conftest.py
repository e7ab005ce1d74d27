"""What several tests of rows begin with."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from models import config


@pytest.fixture
def daily(settings: config.Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A user may spend one dollar and a thousand tokens a day."""
    monkeypatch.setenv("USER_DAILY_BUDGET_USD", "1.00")
    monkeypatch.setenv("USER_DAILY_BUDGET_TOKENS", "1000")
    config.settings.cache_clear()
    yield
    monkeypatch.undo()
    config.settings.cache_clear()
