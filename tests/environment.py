"""What this process is told by its environment."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from models import config


@contextmanager
def environment(**variables: str) -> Iterator[None]:
    """These variables are set, and the settings read anew, while the block lasts."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(name, value)
        config.settings.cache_clear()
        yield
    config.settings.cache_clear()
