"""A root for workspaces here, one on another machine, and the blobs both share."""

from __future__ import annotations

import pytest

from models.blobs import Blobs
from workers.workspaces import open_workspace


@pytest.fixture
def blobs(tmp_path):
    return Blobs((tmp_path / "blobs").as_uri())


@pytest.fixture
def root(tmp_path):
    return tmp_path / "here" / "workspaces"


@pytest.fixture
def elsewhere(tmp_path):
    return tmp_path / "another machine" / "workspaces"


@pytest.fixture
def opened(root, blobs):
    """The new workspace of run_1, open."""
    with open_workspace(root, "run_1", None, blobs) as workspace:
        yield workspace
