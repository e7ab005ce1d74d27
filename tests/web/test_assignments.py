"""Which agents answer to what happens on GitHub, as clients say it."""

from __future__ import annotations

import re
from typing import Any

import pytest
from flask.testing import FlaskClient

from models.assignments import Assignment
from tests.conftest import PROJECT
from tests.servers.github import Github


def test_assignments_are_made_changed_listed_and_taken_back(
    github: Github, owner: FlaskClient, teammate: FlaskClient
):
    path = f"/v1/projects/{PROJECT}/github/assignments"
    form = {"agent_id": "finn", "event_type": "issues", "filter_labels": ["bug"]}
    made = owner.post(path, json=form).json
    assert made["filter_labels"] == ["bug"]
    assert made["auto_respond"] is False
    assert made["event_action"] is made["filter_authors"] is None
    assert re.fullmatch(r"gha_[0-9a-f]{16}", made["id"])
    one = f"{path}/{made['id']}"
    assert teammate.get(one).json == made
    changed = teammate.put(one, json={"auto_respond": True, "filter_labels": None}).json
    assert (changed["auto_respond"], changed["filter_labels"]) == (True, None)
    assert changed["event_type"] == "issues"
    listed = teammate.get(path).json
    assert (listed["count"], listed["assignments"]) == (1, [changed])
    assert teammate.delete(one).json == {"status": "deleted", "id": made["id"]}
    assert teammate.get(one).status_code == 404
    assert owner.get(path).json == {"assignments": [], "count": 0}


def test_an_assignment_wakes_only_a_routine_that_its_maker_sees(
    github: Github, owner: FlaskClient, teammate: FlaskClient
):
    path = f"/v1/projects/{PROJECT}/github/assignments"
    mine = owner.post("/v1/pulse-routines/finn", json={"name": "Look"}).json["id"]
    form = {"agent_id": "finn", "event_type": "issues", "auto_respond": True, "routine_id": mine}
    gone = teammate.post(path, json=form)
    typo = teammate.post(path, json=form | {"routine_id": "pr_gone"})
    assert (gone.status_code, typo.status_code) == (404, 404)
    assert gone.json["detail"].replace(mine, "pr_gone") == typo.json["detail"]
    other = owner.post(path, json=form | {"agent_id": "eric"})
    assert (other.status_code, "routine_id" in other.json["detail"]) == (422, True)
    made = owner.post(path, json=form).json
    assert made["routine_id"] == mine
    one = f"{path}/{made['id']}"
    assert teammate.put(one, json={"filter_labels": None}).status_code == 403
    assert owner.put(one, json={"agent_id": "eric"}).status_code == 422
    assert owner.put(one, json={"filter_labels": ["bug"]}).json["routine_id"] == mine
    assert teammate.put(one, json={"routine_id": None}).json["routine_id"] is None
    assert teammate.delete(one).status_code == 200


@pytest.mark.parametrize(
    ("change", "status", "named"),
    [
        ({"agent_id": "gone"}, 404, "gone"),
        ({"event_type": "unheard_of"}, 422, "event_type"),
        ({"auto_respond": "yes"}, 422, "auto_respond"),
        ({"filter_labels": "bug"}, 422, "filter_labels"),
        ({"filter_labels": ["x"] * 51}, 422, "filter_labels"),
        ({"filter_file_patterns": ["x" * 257]}, 422, "filter_file_patterns"),
        ({"filter_authors": [7]}, 422, "filter_authors"),
        ({"event_action": ""}, 422, "event_action"),
    ],
)
def test_an_assignment_that_cannot_be_meant_is_refused(
    owner: FlaskClient, change: dict[str, Any], status: int, named: str
):
    form = {"agent_id": "finn", "event_type": "issues"} | change
    answer = owner.post(f"/v1/projects/{PROJECT}/github/assignments", json=form)
    assert answer.status_code == status
    assert named in answer.json["detail"]
    assert Assignment.select().count() == 0
