"""API keys: told once, bound to whom they are for, gone when they are revoked."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count

import pytest
from flask import Flask
from flask.testing import FlaskClient

from models import audit
from models.accounts import ApiKey
from models.base import db, now_ms
from models.config import Settings
from tasks import keys
from tests.web.people import Person
from web import create_app

Caller = Callable[[str | None], FlaskClient]
DAY = 86_400_000


@pytest.fixture
def ada(app: Flask) -> Person:
    """The owner, logged in."""
    person = Person(app)
    person.log_in()
    return person


@pytest.fixture
def root(app: Flask) -> Person:
    """The admin, logged in."""
    person = Person(app, "admin")
    person.log_in()
    return person


def test_a_key_acts_as_who_made_it_until_it_is_revoked(ada: Person, as_caller: Caller):
    made = ada.post("api-keys", name=" laptop ", expiresInDays=30).json
    assert made["key"].startswith("djb_")
    assert len(made["key"]) == 47
    assert made["keyPrefix"] == made["key"][:12]
    client = as_caller(made["key"])
    assert client.get("/v1/auth/me").json["id"] == ada.id
    shown = ada.http.get("/v1/auth/api-keys").json[0]
    assert shown["name"] == "laptop"
    assert shown["expiresAt"] == made["expiresAt"]
    assert abs(shown["expiresAt"] - shown["createdAt"] - 30 * DAY) < 60_000
    assert (shown["isServiceKey"], shown["scopes"]) == (False, [])
    assert made["key"] not in str(shown)
    for _ in range(2):
        answer = ada.http.delete(f"/v1/auth/api-keys/{made['id']}")
        assert answer.json == {"status": "revoked", "id": made["id"]}
    assert client.get("/v1/auth/me").status_code == 401
    assert made["id"] not in str(ada.http.get("/v1/auth/api-keys").json)
    with db.connection_context():
        told = [(entry.action, entry.subject) for entry in audit.Entry.select()]
        kept = str(list(ApiKey.select().dicts())) + str(list(audit.Entry.select().dicts()))
    assert told == [("key.created", made["id"]), ("key.revoked", made["id"])]
    assert made["key"] not in kept


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": ""},
        {"name": "  "},
        {"name": "x" * 257},
        {"name": None},
        {"expiresInDays": 0},
        {"expiresInDays": -1},
        {"expiresInDays": 3651},
        {"expiresInDays": "30"},
        {"scopes": ["admin"]},
        {"scopes": "read"},
    ],
)
def test_a_key_that_makes_no_sense_is_422(ada: Person, wrong: dict):
    answer = ada.post("api-keys", **{"name": "laptop"} | wrong)
    assert answer.status_code == 422
    assert answer.json["errors"][0]["loc"][:2] == ["body", next(iter(wrong))]


def test_a_key_may_only_look_if_its_maker_wants(ada: Person, as_caller: Caller):
    client = as_caller(ada.post("api-keys", name="board", scopes=["read"]).json["key"])
    assert client.get("/v1/runs").status_code == 200
    assert client.put("/v1/users/me/profile", json={"displayName": "x"}).status_code == 403


def test_no_key_makes_another(
    owner: FlaskClient, admin: FlaskClient, engine: FlaskClient, as_caller: Caller
):
    assert owner.post("/v1/auth/api-keys", json={"name": "x"}).status_code == 403
    assert admin.post("/v1/auth/api-keys/service", json={"name": "x"}).status_code == 403
    assert engine.post("/v1/auth/api-keys", json={"name": "x"}).status_code == 400
    made = engine.post("/v1/auth/api-keys/service", json={"name": "bridge"})
    assert made.status_code == 200
    client = as_caller(made.json["key"])
    assert client.post("/v1/auth/api-keys/service", json={"name": "x"}).status_code == 403


def test_the_anonymous_make_keys_for_programs_only(local: Settings, app: Flask):
    client = create_app(local).test_client()
    assert client.post("/v1/auth/api-keys", json={"name": "x"}).status_code == 404
    assert client.post("/v1/auth/api-keys/service", json={"name": "x"}).status_code == 200


def test_a_service_key_may_what_its_scopes_say(root: Person, as_caller: Caller):
    all_powerful = root.post("api-keys/service", name="bridge").json
    assert all_powerful["key"].startswith("djb_svc_")
    assert all_powerful["keyPrefix"] == all_powerful["key"][:16]
    me = as_caller(all_powerful["key"]).get("/v1/auth/me").json
    assert me["id"] == f"service:apikey:{all_powerful['id']}"
    assert (me["displayName"], me["isAdmin"], me["isService"]) == ("bridge", True, True)
    engine = as_caller(root.post("api-keys/service", name="e", scopes=["engine"]).json["key"])
    assert engine.get("/v1/users").status_code == 403
    assert engine.get("/v1/users/by-slack-id/U0").status_code == 404


def test_only_admins_make_service_keys_and_see_all(ada: Person, root: Person):
    assert ada.post("api-keys/service", name="x").status_code == 403
    assert ada.http.get("/v1/auth/api-keys/all").status_code == 403
    made = root.post("api-keys/service", name="bridge").json["id"]
    every = root.http.get("/v1/auth/api-keys/all").json
    assert {key["userId"] for key in every} >= {None, "usr_owner", "usr_admin"}
    assert made not in str(root.http.get("/v1/auth/api-keys").json)


def test_anothers_key_reads_like_a_typo_and_an_admin_revokes_any(ada: Person, root: Person):
    theirs, typo = (ada.http.delete(f"/v1/auth/api-keys/{key}") for key in ("ak_admin", "none"))
    assert theirs.status_code == typo.status_code == 404
    assert theirs.json["detail"].replace("ak_admin", "none") == typo.json["detail"]
    assert root.http.delete("/v1/auth/api-keys/ak_owner").status_code == 200


def test_an_agent_has_one_key_which_is_told_once_and_may_be_rotated(
    engine: FlaskClient, owner: FlaskClient, as_caller: Caller
):
    body = {"agentId": "yukihiro"}
    first = engine.post("/v1/auth/api-keys/agent", json=body).json
    assert (first["created"], first["agentId"]) == (True, "yukihiro")
    assert first["key"].startswith("djb_agent_")
    again = engine.post("/v1/auth/api-keys/agent", json=body).json
    assert again == {
        "id": first["id"],
        "agentId": "yukihiro",
        "keyPrefix": first["keyPrefix"],
        "created": False,
    }
    rotated = engine.post("/v1/auth/api-keys/agent", json=body | {"rotate": True}).json
    assert rotated["created"] is True
    assert as_caller(first["key"]).get("/v1/auth/me").status_code == 401
    assert as_caller(rotated["key"]).get("/v1/auth/me").status_code == 403  # nothing for agents
    assert owner.post("/v1/auth/api-keys/agent", json=body).status_code == 403
    assert engine.post("/v1/auth/api-keys/agent", json={"agentId": "none"}).status_code == 404
    with db.connection_context():
        kept = ApiKey.get_by_id(rotated["id"])
    assert (kept.name, kept.is_service_key) == ("agent:yukihiro", True)


def test_a_key_without_an_end_outlives_any_tick_of_the_clock(
    engine: FlaskClient, monkeypatch: pytest.MonkeyPatch
):
    body = {"agentId": "yukihiro"}
    ticks = count(now_ms(), 1_000)  # each look at the clock is a second later
    monkeypatch.setattr(keys, "now_ms", lambda: next(ticks))
    first = engine.post("/v1/auth/api-keys/agent", json=body).json
    again = engine.post("/v1/auth/api-keys/agent", json=body).json
    assert (again["id"], again["created"]) == (first["id"], False)


def test_nobody_keeps_more_keys_than_they_can_look_after(
    ada: Person, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(keys, "MOST", 2)  # the cast's key is one
    assert ada.post("api-keys", name="one").status_code == 200
    assert ada.post("api-keys", name="two").status_code == 409
