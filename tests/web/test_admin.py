"""What admins look after, over HTTP."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from models import audit, notifications
from models.accounts import ApiKey, digest
from models.agents import Agent
from models.base import db
from models.notifications import Notification
from models.principals import Principal
from models.runs import Run
from models.sessions import Session
from tasks import chats

ANNA = Principal("usr_anna", "user")
Ask = Callable[..., dict[str, Any]]
Caller = Callable[[str | None], FlaskClient]


def tell(client: FlaskClient, title: str = "The disk is full", **more: Any) -> Any:
    return client.post("/v1/admin/notifications", json={"title": title, **more})


def test_admins_are_told_read_and_dismiss(admin: FlaskClient, engine: FlaskClient):
    told = tell(engine, level="error", detail="0 bytes left").json
    assert told["level"] == "error"
    assert told["read"] is False
    assert admin.get("/v1/admin/notifications").json == [told]
    path = f"/v1/admin/notifications/{told['id']}"
    assert admin.post(f"{path}/dismiss").json == admin.patch(f"{path}/read").json == {"ok": True}
    assert admin.get("/v1/admin/notifications?unread_only=true").json == []
    assert admin.get("/v1/admin/notifications").json[0]["read"] is True
    assert admin.post("/v1/admin/notifications/none/dismiss").status_code == 404


def test_all_are_read_at_once(admin: FlaskClient):
    for number in range(3):
        tell(admin, f"News {number}")
    newest = admin.get("/v1/admin/notifications?limit=1")
    assert (newest.json[0]["title"], newest.headers["X-Total-Count"]) == ("News 2", "3")
    assert admin.post("/v1/admin/notifications/mark-all-read").json == {"ok": True}
    assert admin.get("/v1/admin/notifications?unread_only=true").json == []


@pytest.mark.parametrize(
    "body", [{}, {"title": " "}, {"title": "x" * 257}, {"title": "x", "level": "loud"}]
)
def test_a_notification_that_says_nothing_is_refused(admin: FlaskClient, body: dict[str, str]):
    assert admin.post("/v1/admin/notifications", json=body).status_code == 422
    assert admin.get("/v1/admin/notifications?limit=0").status_code == 422
    assert admin.get("/v1/admin/notifications").json == []


def test_old_notifications_make_room(database: str):
    with db.connection_context():
        for number in range(notifications.MOST + 3):
            Notification(title=f"News {number}", created_at=number).add()
        notifications.notify("info", "The latest")
        assert Notification.select().count() == notifications.MOST
        assert Notification.select().where(Notification.title == "The latest").exists()


def test_a_key_of_the_engines_may_tell_and_not_read(app: Flask, as_caller: Caller):
    with db.connection_context():
        scoped = {"scopes": ["engine"], "is_service_key": True, "name": "engine"}
        ApiKey(key_hash=digest("djb_svc_1"), key_prefix="djb_svc_", **scoped).add()
    service = as_caller("djb_svc_1")
    assert tell(service).status_code == 200
    assert service.get("/v1/admin/notifications").status_code == 403


@pytest.mark.parametrize("path", ["notifications", "audit", "api-usage", "usage"])
def test_others_than_admins_are_kept_out(owner: FlaskClient, nobody: FlaskClient, path: str):
    assert owner.get(f"/v1/admin/{path}").status_code == 403
    assert nobody.get(f"/v1/admin/{path}").status_code == 401
    assert tell(owner).status_code == 403


def test_the_audit_log_is_read_newest_first_by_whatever_is_known(admin: FlaskClient):
    with db.connection_context(), db.atomic():
        for number in range(3):
            audit.record(ANNA, "secret.created", f"sec_{number}", name="ci")
        audit.record(None, "user.disabled", "usr_1")
    entries = admin.get("/v1/admin/audit?limit=2")
    assert [entry["seq"] for entry in entries.json] == [4, 3]
    more = admin.get(entries.headers["Link"].partition(">")[0].lstrip("<")).json
    assert [entry["seq"] for entry in more] == [2, 1]
    assert more[1]["details"] == {"name": "ci"}
    counts = {
        "actor=usr_anna": 3,
        "actor=system": 1,
        "subject=sec_1": 1,
        "action=user.disabled": 1,
        f"since={entries.json[0]['at'] + 1}": 0,
        f"since={more[1]['at']}&actor=usr_anna": 3,
        "actor=%00": 0,
    }
    for query, count in counts.items():
        assert len(admin.get(f"/v1/admin/audit?{query}").json) == count, query


def test_usage_tells_runs_and_chats_with_their_people(ask: Ask, admin: FlaskClient):
    run = ask()["id"]
    resolved = {"source": "executing_user", "providerSources": {"xai": {"source": "personal"}}}
    host = Principal("usr_admin", "user", is_admin=True)
    chats.start(host, Agent.get_by_id("eric"), {}, source="dashboard").put(key_resolution=resolved)
    Session(agent_id="eric", run_id=run, owner_id="usr_owner").add()  # the run's own: no chat
    usage = admin.get("/v1/admin/api-usage").json
    assert (usage["total"], usage["hasMore"]) == (2, False)
    chat, told = usage["items"]
    assert (chat["type"], chat["agentId"], chat["source"]) == ("chat", "eric", "dashboard")
    assert chat["keyResolution"] == resolved
    assert (told["id"], told["type"], told["agentId"]) == (run, "run", "bugfix")
    assert (told["userId"], told["userEmail"]) == ("usr_owner", "owner@cast.example")
    assert admin.get("/v1/admin/usage").json == usage


RESOLUTIONS = {
    "unknown": None,
    "whole": {"source": "system", "providerSources": {}},
    "person": {"source": "executing_user"},
    "mixed": {"source": "system", "providerSources": {"a": {"source": "admin_shared"}, "b": {}}},
    "own": {"source": "system", "providerSources": {"a": {"source": "personal"}}},
}


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("system", {"unknown", "whole"}),
        ("instance", {"whole"}),
        ("personal", {"person", "own"}),
        ("admin_shared", {"mixed"}),
    ],
)
def test_usage_is_found_by_who_paid(ask: Ask, admin: FlaskClient, source: str, expected: set[str]):
    for name, resolution in RESOLUTIONS.items():
        Run.update(key_resolution=resolution).where(Run.id == ask(name)["id"]).execute()
    found = admin.get(f"/v1/admin/api-usage?key_source={source}").json["items"]
    tasks = {run.id: run.task for run in Run.select(Run.id, Run.task)}
    assert {tasks[item["id"]] for item in found} == expected


def test_usage_comes_in_pages_and_narrowed(ask: Ask, admin: FlaskClient):
    ids = [ask(str(number))["id"] for number in range(3)]
    first = admin.get("/v1/admin/api-usage?limit=2").json
    assert (len(first["items"]), first["total"], first["hasMore"]) == (2, 3, True)
    rest = admin.get("/v1/admin/api-usage?limit=2&offset=2").json
    assert [len(rest["items"]), rest["hasMore"]] == [1, False]
    assert {item["id"] for item in (*first["items"], *rest["items"])} == {*ids}
    counts = {"type=chat": 0, "type=run": 3, "status=pending": 3, "status=none": 0}
    counts |= {"user_id=usr_owner": 3, "user_id=usr_admin": 0}
    for query, count in counts.items():
        assert admin.get(f"/v1/admin/api-usage?{query}").json["total"] == count, query
    for query in ("limit=0", "limit=201", "offset=-1", "type=x", "key_source=x"):
        assert admin.get(f"/v1/admin/api-usage?{query}").status_code == 422
