"""Everybody who may ask, for the guards that ask every route."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from flask.testing import FlaskClient

from models import base
from models.accounts import ApiKey, digest
from tests.conftest import TOKEN
from tests.guards.access import CALLERS
from tests.guards.things import AGENT
from tests.servers.github import Github


@pytest.fixture
def cast(github: Github, as_caller: Callable[[str | None], FlaskClient]) -> dict[str, FlaskClient]:
    """A client for each caller, where our App is known to a GitHub."""
    with base.db.connection_context():
        told = {"name": "agent", "key_prefix": "djb_agent", "agent_id": AGENT}
        ApiKey(key_hash=digest("djb_agent_key"), is_service_key=True, **told).add()
    tokens = {name: f"djb_{name}" for name in CALLERS}
    tokens |= {"agent": "djb_agent_key", "service": TOKEN, "none": None}
    return {name: as_caller(tokens[name]) for name in CALLERS}
