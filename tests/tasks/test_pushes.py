"""Pushes whose request came twice: the one that arrived stays."""

from __future__ import annotations

import pytest
from flask.testing import FlaskClient

from models.base import db
from models.errors import Conflict
from models.pushes import PUSHED, Push
from tasks import pushes
from tests.web.boards import Crew


@pytest.fixture
def push(owner: FlaskClient) -> Push:
    """One that is due."""
    left = {"branch": "feat/x", "commit": "1" * 40, "snapshot": "2" * 64}
    project_id = Crew(owner).id
    with db.connection_context():
        return Push(id="push_1", source="run_1", project=project_id, **left).add()


def test_a_try_that_comes_to_nothing_takes_back_no_other_that_arrived(push: Push) -> None:
    with db.connection_context():
        first, second = Push.taken(push.id), Push.taken(push.id)
        assert first is not None and second is not None
        pushes.arrived(first)
        with pytest.raises(Conflict):
            pushes.postponed(second, "cannot lock ref")
        assert Push.get_by_id(push.id).state == PUSHED
