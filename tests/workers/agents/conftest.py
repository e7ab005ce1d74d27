from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from pathlib import Path

import pytest

from workers.agents.tools import Toolbox
from workers.agents.tools.base import Bench
from workers.agents.tools.tree import Tree
from workers.sandboxes import choose
from workers.sandboxes.base import Sandbox, Spec

MakeToolbox = Callable[..., Toolbox]


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    folder = tmp_path / "workspace"
    folder.mkdir()
    return folder


@pytest.fixture
def sandbox(workspace: Path) -> Iterator[Sandbox]:
    with choose("bubblewrap").open(Spec(workspace)) as opened:
        yield opened


@pytest.fixture
def toolbox(workspace: Path, sandbox: Sandbox) -> MakeToolbox:
    """Makes a toolbox over the workspace: `toolbox("result", allowed=["read"])`."""

    def make(*declared: str, allowed: Collection[str] | None = None) -> Toolbox:
        return Toolbox(Bench(Tree(workspace), sandbox, declared), allowed)

    return make
