"""Tokens of every kind, and what each of them opens."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import jwt
import pytest
from flask import Flask
from flask.testing import FlaskClient

from models.accounts import ApiKey, Challenge, User, UserSession, digest
from models.base import db, now_ms
from tests.conftest import AUTH_KEY, PROJECT
from web import tokens

Caller = Callable[[str | None], FlaskClient]
HOUR = 3_600_000


@pytest.fixture
def connected(app: Flask) -> Iterator[None]:
    with app.app_context(), db.connection_context():
        yield


@pytest.fixture
def login(connected: None) -> str:
    """An access token of the owner's."""
    login = {"user_id": "usr_owner", "expires_at": now_ms() + HOUR, "ends_at": now_ms() + HOUR}
    UserSession(id="ses_1", **login).add()
    return tokens.access_token(User.get_by_id("usr_owner"), "ses_1")


def status(as_caller: Caller, token: str) -> int:
    return as_caller(token).get("/v1/runs").status_code


def test_a_login_opens_the_api_until_it_ends(as_caller: Caller, login: str):
    assert status(as_caller, login) == 200
    UserSession.delete().execute()
    assert status(as_caller, login) == 401


def test_a_disabled_account_is_out_at_once(as_caller: Caller, login: str):
    User.update(is_active=False).execute()
    assert status(as_caller, login) == 401
    assert status(as_caller, "djb_owner") == 401


@pytest.mark.parametrize(
    "claims",
    [
        {"type": "refresh"},
        {"type": "pending_totp"},
        {"sub": "usr_stranger"},
        {"sid": "ses_2"},
        {"iss": "other"},
        {"aud": "other"},
        {"exp": 1},
        {"exp": None},
        {"sid": None},
    ],
)
def test_a_token_that_says_anything_else_opens_nothing(as_caller: Caller, login: str, claims: dict):
    told = jwt.decode(login, AUTH_KEY, ["HS256"], audience="djinnbot") | claims
    told = {name: value for name, value in told.items() if value is not None}
    assert status(as_caller, jwt.encode(told, AUTH_KEY, "HS256")) == 401


def test_only_our_key_and_algorithm_sign(as_caller: Caller, login: str):
    told = jwt.decode(login, AUTH_KEY, ["HS256"], audience="djinnbot")
    assert status(as_caller, jwt.encode(told, AUTH_KEY, "HS512")) == 401
    assert status(as_caller, jwt.encode(told, "x" * 40, "HS256")) == 401
    assert status(as_caller, jwt.encode(told, None, "none")) == 401
    for junk in ("a.b.c", "..", "é.b.c", login + "x", login[:-2]):
        assert status(as_caller, junk) == 401


def test_the_clocks_of_two_web_processes_may_differ_a_little(as_caller: Caller, login: str):
    told = jwt.decode(login, AUTH_KEY, ["HS256"], audience="djinnbot")
    for ahead, expected in ((20, 200), (40, 401)):
        early = jwt.encode(told | {"iat": told["iat"] + ahead}, AUTH_KEY, "HS256")
        assert status(as_caller, early) == expected
    assert {"sub", "email", "is_admin", "totp_verified", "type", "iat", "exp", "jti"} <= set(told)


def test_an_expired_token_says_so(as_caller: Caller, login: str):
    told = jwt.decode(login, AUTH_KEY, ["HS256"], audience="djinnbot") | {"exp": 1}
    answer = as_caller(jwt.encode(told, AUTH_KEY, "HS256")).get("/v1/runs")
    assert answer.json["detail"] == "Token expired"


def test_a_pending_token_opens_nothing(as_caller: Caller, connected: None):
    waiting = Challenge(user_id="usr_owner", expires_at=now_ms() + HOUR)
    assert status(as_caller, tokens.pending_token(waiting)) == 401


def test_keys_live_until_they_expire_or_are_revoked(as_caller: Caller, connected: None):
    assert status(as_caller, "djb_owner") == 200
    assert ApiKey.get_by_id("ak_owner").last_used_at is not None
    ApiKey.update(expires_at=now_ms() - 1).execute()
    assert status(as_caller, "djb_owner") == 401
    ApiKey.update(expires_at=None, is_active=False).execute()
    assert status(as_caller, "djb_owner") == 401


def test_a_key_that_may_read_does_not_write(as_caller: Caller, connected: None):
    ApiKey.update(scopes=["read"]).execute()
    client = as_caller("djb_owner")
    assert client.get("/v1/runs").status_code == 200
    answer = client.post("/v1/runs", json={"pipeline_id": "bugfix", "task": "x"})
    assert (answer.status_code, answer.json["detail"]) == (403, "This key may only read")


def key(token: str, **columns: object) -> None:
    told = {"key_hash": digest(token), "key_prefix": token[:4], "name": token, **columns}
    ApiKey(**told).add()


def test_service_keys_may_what_their_scopes_say(as_caller: Caller, connected: None):
    key("djb_svc_admin", is_service_key=True, scopes=["admin"])
    key("djb_svc_engine", is_service_key=True, scopes=["engine"])
    for token, expected in (("djb_svc_admin", 200), ("djb_svc_engine", 403), ("djb_owner", 403)):
        assert as_caller(token).get("/v1/admin/llm-calls").status_code == expected


def test_an_agents_key_opens_nothing_that_is_not_for_agents(as_caller: Caller, connected: None):
    key("djb_agent_finn", is_service_key=True, agent_id="finn")
    answer = as_caller("djb_agent_finn").get("/v1/runs")
    assert (answer.status_code, answer.json["detail"]) == (403, "An agent's key may not do this")


def test_a_teammate_sees_the_runs_of_the_project_and_a_stranger_does_not(
    owner: FlaskClient, teammate: FlaskClient, stranger: FlaskClient
):
    form = {"pipeline_id": "bugfix", "task": "x", "project_id": PROJECT}
    assert stranger.post("/v1/runs", json=form).status_code == 404
    run = owner.post("/v1/runs", json=form).json["id"]
    assert teammate.get(f"/v1/runs/{run}").status_code == 200
    assert stranger.get(f"/v1/runs/{run}").status_code == 404
    alone = owner.post("/v1/runs", json=form | {"project_id": None}).json["id"]
    assert teammate.get(f"/v1/runs/{alone}").status_code == 404
