"""What several tests of the API begin with."""

from __future__ import annotations

import pytest
from flask.testing import FlaskClient


@pytest.fixture
def run(owner: FlaskClient) -> str:
    """A run that nobody has worked on yet."""
    return owner.post("/v1/runs", json={"pipeline_id": "bugfix", "task": "x"}).json["id"]
