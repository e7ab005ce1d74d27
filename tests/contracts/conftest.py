"""A sandbox of the backend called `name`, over an empty workspace."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers.containers import engine
from workers.sandboxes import choose
from workers.sandboxes.base import Backend, Sandbox, Spec


@pytest.fixture
def chosen(name: str) -> Backend:
    return choose(name, engine())


@pytest.fixture
def spec(tmp_path: Path) -> Spec:
    tree = tmp_path / "tree"
    tree.mkdir()
    return Spec(tree, memory_mb=256, processes=64)


@pytest.fixture
def sandbox(chosen: Backend, spec: Spec) -> Iterator[Sandbox]:
    with chosen.open(spec) as opened:
        yield opened
