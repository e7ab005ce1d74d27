"""What GitHub has told, for those who may read it, and once more."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from flask.testing import FlaskClient

from models.webhooks import WebhookEvent
from tests.conftest import PROJECT
from tests.servers import github_events as told
from tests.servers.github import INSTALLATION
from tests.web.delivering import Send, jobs


def test_admins_read_the_log_and_nobody_else(
    send: Send, admin: FlaskClient, owner: FlaskClient, nobody: FlaskClient
):
    event = send(told.issues("labeled", added="bug")).json["event_id"]
    send(told.ping(), "ping", X_GitHub_Delivery="d-2")
    for path in ("", f"/{event}", "/none"):
        assert nobody.get(f"/v1/webhooks/events{path}").status_code == 401
        assert owner.get(f"/v1/webhooks/events{path}").status_code == 403
    log = admin.get("/v1/webhooks/events").json
    assert (log["count"], log["total"], log["limit"], log["offset"]) == (2, 2, 50, 0)
    assert [row["event_type"] for row in log["events"]] == ["ping", "issues"]
    assert "payload" not in log["events"][0]
    assert log["events"][0]["received_at"] == pytest.approx(time.time(), abs=30)  # seconds
    for query, count in {
        "event_type=ping": 1,
        "repository=ACME/Todo": 1,
        "processed=true": 0,
        "limit=1": 1,
        "offset=1": 1,
    }.items():
        assert admin.get(f"/v1/webhooks/events?{query}").json["count"] == count, query
    detail = admin.get(f"/v1/webhooks/events/{event}").json
    assert detail["payload"]["label"]["name"] == "bug"
    assert "signature" not in detail
    assert admin.get("/v1/webhooks/events/none").status_code == 404


def test_only_admins_replay(
    send: Send,
    admin: FlaskClient,
    owner: FlaskClient,
    nobody: FlaskClient,
    work: Callable[..., int],
):
    event = send(told.issues()).json["event_id"]
    work()
    path = f"/v1/webhooks/events/{event}/replay"
    assert nobody.post(path).status_code == 401
    assert owner.post(path).status_code == 403
    assert jobs() == []
    assert admin.post(path).json["status"] == "replayed"
    assert jobs() == [[event]]
    assert not WebhookEvent.get().processed
    assert admin.post("/v1/webhooks/events/none/replay").status_code == 404


def test_a_projects_log_is_for_its_members_and_about_its_repository(
    send: Send,
    owner: FlaskClient,
    teammate: FlaskClient,
    stranger: FlaskClient,
):
    path = f"/v1/projects/{PROJECT}/github/webhook-log"
    send(told.issues(), X_GitHub_Delivery="before it was connected")
    assert teammate.get(path).json["events"] == []
    form = {"installation_id": INSTALLATION, "owner": "acme", "repo": "todo"}
    assert owner.post(f"/v1/github/projects/{PROJECT}/connect", json=form).status_code == 200
    send(told.issues(), X_GitHub_Delivery="d-1")
    other = told.issues() | {"repository": told.repository("acme/other")}
    send(other, X_GitHub_Delivery="d-2")
    assert [row["delivery_id"] for row in teammate.get(path).json["events"]] == ["d-1"]
    assert stranger.get(path).status_code == 404
