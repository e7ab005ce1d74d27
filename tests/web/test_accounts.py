"""Accounts: who may see and change them, and what becomes of who is disabled."""

from __future__ import annotations

import pytest
from flask import Flask
from flask.testing import FlaskClient

from models import audit
from models.accounts import ApiKey, User
from models.base import db
from models.config import Settings
from tests.web.people import PASSWORD, Person
from web import create_app

GRACE = {"email": " Grace@Example.com", "password": PASSWORD, "displayName": "Grace"}


@pytest.mark.parametrize("path", ["/v1/users", "/v1/users/", "/v1/admin/users", "/v1/admin/users/"])
def test_an_admin_makes_accounts_that_log_in(admin: FlaskClient, app: Flask, path: str):
    answer = admin.post(path, json=GRACE)
    assert answer.status_code == 201
    assert {
        name: answer.json[name] for name in ("email", "displayName", "isAdmin", "isActive")
    } == {
        "email": "grace@example.com",
        "displayName": "Grace",
        "isAdmin": False,
        "isActive": True,
    }
    assert "password" not in answer.text
    login = {"email": "grace@example.com", "password": PASSWORD}
    assert app.test_client().post("/v1/auth/login", json=login).status_code == 200
    again = admin.post(path, json=GRACE | {"email": "GRACE@example.com"})
    assert (again.status_code, "already" in again.json["detail"]) == (409, True)
    assert admin.get(path).json[0]["id"] == answer.json["id"]
    with db.connection_context():
        assert [entry.action for entry in audit.Entry.select()] == ["user.created"]


@pytest.mark.parametrize(
    "wrong",
    [{"password": "short"}, {"email": "none"}, {"isAdmin": "yes"}, {"displayName": "x" * 257}],
)
def test_an_account_that_makes_no_sense_is_422(admin: FlaskClient, wrong: dict):
    answer = admin.post("/v1/users", json=GRACE | wrong)
    assert answer.status_code == 422
    assert answer.json["errors"][0]["loc"] == ["body", next(iter(wrong))]


@pytest.mark.parametrize("email", ["İ@example.com", "ΣΑΣ@example.com", "ẞ@example.com"])
def test_an_address_in_any_script_never_breaks_us(admin: FlaskClient, email: str):
    assert admin.post("/v1/users", json=GRACE | {"email": email}).status_code in {201, 422}


def test_accounts_are_listed_page_by_page(admin: FlaskClient, owner: FlaskClient):
    first = admin.get("/v1/users?limit=3")
    assert len(first.json) == 3
    assert first.headers["X-Total-Count"] == "4"
    rest = admin.get(first.headers["Link"].split(">")[0][1:])
    assert len(rest.json) == 1
    assert owner.get("/v1/users").status_code == 403
    assert owner.post("/v1/users", json=GRACE).status_code == 403


def test_somebody_sees_their_own_account_and_others_read_like_typos(
    owner: FlaskClient, admin: FlaskClient, engine: FlaskClient
):
    assert owner.get("/v1/users/me").json == owner.get("/v1/users/usr_owner").json
    theirs, typo = (owner.get(f"/v1/users/{who}") for who in ("usr_admin", "none"))
    assert theirs.status_code == typo.status_code == 404
    assert theirs.json["detail"].replace("usr_admin", "none") == typo.json["detail"]
    assert owner.put("/v1/users/usr_admin", json={"displayName": "x"}).status_code == 404
    assert owner.delete("/v1/users/usr_admin").status_code == 403
    assert admin.get("/v1/users/usr_owner").json["email"] == "owner@cast.example"
    assert engine.get("/v1/users/me").status_code == 404


def test_somebody_changes_how_they_are_reached_but_not_what_they_may(owner: FlaskClient):
    form = {"displayName": "Ada", "slackId": "U012AB3CD", "phoneNumber": "+4930123456"}
    assert owner.put("/v1/users/usr_owner", json=form).json["slackId"] == "U012AB3CD"
    told = owner.get("/v1/users/me/profile").json
    assert {name: told[name] for name in form} == form
    assert owner.put("/v1/users/me", json=told).status_code == 200  # an echo changes nothing
    cleared = {"slackId": "", "phoneNumber": "", "displayName": None}
    told = owner.put("/v1/users/me/profile", json=cleared).json
    assert (told["slackId"], told["phoneNumber"], told["displayName"]) == (None, None, "Ada")
    for right in ({"isAdmin": True}, {"isActive": False}, {"password": "another password"}):
        assert owner.put("/v1/users/me", json=right).status_code == 403


@pytest.mark.parametrize(
    "wrong",
    [
        {"slackId": "X012"},
        {"slackId": "U012ab"},
        {"phoneNumber": "0123456"},
        {"phoneNumber": "+0123456789"},
        {"phoneNumber": "+4930123456\n"},
        {"discordId": "12"},
        {"displayName": 5},
    ],
)
def test_a_profile_that_makes_no_sense_is_422(owner: FlaskClient, wrong: dict):
    answer = owner.put("/v1/users/me/profile", json=wrong)
    assert answer.status_code == 422
    assert answer.json["errors"][0]["loc"] == ["body", next(iter(wrong))]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("slackId", "U012AB3CD"),
        ("discordId", "112233445566778899"),
        ("phoneNumber", "+4930123456"),
    ],
)
def test_nobody_claims_what_is_anothers(owner: FlaskClient, teammate, name: str, value: str):
    assert owner.put("/v1/users/me/profile", json={name: value}).status_code == 200
    answer = teammate.put("/v1/users/me/profile", json={name: value, "displayName": "x"})
    assert answer.status_code == 409
    assert teammate.get("/v1/users/me").json["displayName"] is None


def test_bridges_ask_who_somebody_is(
    owner: FlaskClient, admin: FlaskClient, engine: FlaskClient, nobody: FlaskClient
):
    form = {"slackId": "U012AB3CD", "discordId": "112233445566778899"}
    owner.put("/v1/users/me/profile", json=form)
    for path in ("by-slack-id/U012AB3CD", "by-discord-id/112233445566778899"):
        told = engine.get(f"/v1/users/{path}").json
        assert told == {"userId": "usr_owner", "email": "owner@cast.example"}
        assert (
            owner.get(f"/v1/users/{path}").status_code,
            nobody.get(f"/v1/users/{path}").status_code,
        ) == (403, 401)
    assert engine.get("/v1/users/by-slack-id/U0").status_code == 404


def test_the_anonymous_and_services_have_no_profile(
    engine: FlaskClient, local: Settings, app: Flask
):
    anonymous = create_app(local).test_client()
    for client in (engine, anonymous):
        assert client.get("/v1/users/me/profile").status_code == 404
        assert client.put("/v1/users/me/profile", json={"displayName": "x"}).status_code == 404


def test_who_is_disabled_is_out_at_once_and_loses_their_keys(
    app: Flask, admin: FlaskClient, owner: FlaskClient
):
    ada = Person(app)
    ada.log_in()
    answer = admin.delete("/v1/admin/users/usr_owner")
    assert answer.json == {"status": "deactivated", "userId": "usr_owner"}
    assert admin.delete("/v1/users/usr_owner").status_code == 200
    assert (ada.status(), ada.refresh().status_code, owner.get("/v1/runs").status_code) == (
        401,
        401,
        401,
    )
    assert admin.put("/v1/users/usr_owner", json={"isActive": True}).json["isActive"] is True
    assert owner.get("/v1/runs").status_code == 401  # the key stays revoked
    assert ada.log_in().status_code == 200
    with db.connection_context():
        assert not ApiKey.get_by_id("ak_owner").is_active
        told = [entry.details for entry in audit.Entry.select().order_by(audit.Entry.seq)]
    assert told == [
        {"columns": ["is_active"], "is_active": False},
        {"columns": ["is_active"], "is_active": True},
    ]


def test_rights_count_at_once(admin: FlaskClient, owner: FlaskClient):
    assert admin.put("/v1/users/usr_owner", json={"isAdmin": True}).json["isAdmin"] is True
    assert owner.get("/v1/users").status_code == 200
    assert owner.put("/v1/users/usr_admin", json={"isAdmin": False}).status_code == 200
    assert admin.get("/v1/users").status_code == 403


def test_nobody_takes_their_own_rights(admin: FlaskClient, owner: FlaskClient):
    admin.put("/v1/users/usr_owner", json={"isAdmin": True})
    for form in ({"isAdmin": False}, {"isActive": False}):
        assert admin.put("/v1/users/me", json=form).status_code == 400
    assert admin.delete("/v1/users/usr_admin").status_code == 400
    assert admin.put("/v1/users/me", json={"password": "another password"}).status_code == 400


def test_the_last_admin_stays_one(engine: FlaskClient):
    for form in ({"isAdmin": False}, {"isActive": False}):
        answer = engine.put("/v1/users/usr_admin", json=form)
        assert (answer.status_code, "last" in answer.json["detail"]) == (409, True)
    assert engine.delete("/v1/users/usr_admin").status_code == 409
    with db.connection_context():
        assert User.get_by_id("usr_admin").is_admin


def test_an_admin_gives_somebody_a_new_password(app: Flask, admin: FlaskClient):
    ada = Person(app)
    ada.log_in()
    form = {"password": "another password"}
    assert admin.put("/v1/users/usr_owner", json=form).status_code == 200
    assert ada.status() == 401
    assert ada.log_in("another password").status_code == 200
    assert admin.put("/v1/users/usr_owner", json={"password": "short"}).status_code == 422
