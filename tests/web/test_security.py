"""Who may call what."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from flask.testing import FlaskClient

from models.config import Misconfigured, Settings
from tests.conftest import TOKEN
from web import create_app
from web.security import refuse_unsafe

Caller = Callable[[str | None], FlaskClient]


@pytest.mark.parametrize("token", [None, "wrong", TOKEN + "x"])
def test_who_cannot_be_named_is_401_and_told_how_to_authenticate(as_caller: Caller, token):
    answer = as_caller(token).get("/v1/runs")
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert answer.json["detail"] == "Not authenticated"


def test_the_scheme_may_be_written_in_any_case(nobody: FlaskClient):
    header = {"Authorization": f"bearer  {TOKEN}"}
    assert nobody.get("/v1/runs", headers=header).status_code == 200
    assert nobody.get("/v1/runs", headers={"Authorization": TOKEN}).status_code == 401


def test_a_query_token_opens_streams_only_and_is_never_the_service_token(nobody: FlaskClient):
    assert nobody.get("/v1/runs?token=djb_owner").status_code == 401
    assert nobody.get(f"/v1/events/stream?token={TOKEN}").status_code == 401
    assert nobody.get("/v1/events/stream?run_id=none&token=djb_owner").status_code == 404


@pytest.mark.parametrize(
    "token", ["%00", "djb_run_%00_x", "a.%00.b", "%ED%A0%80", "djb_run_x_%C3%A9"]
)
def test_a_query_token_that_is_no_text_is_401(nobody: FlaskClient, token: str):
    assert nobody.get(f"/v1/events/stream?token={token}").status_code == 401


def test_some_things_are_for_admins(owner: FlaskClient, admin: FlaskClient, engine: FlaskClient):
    answer = owner.get("/v1/admin/llm-calls")
    assert (answer.status_code, answer.json["detail"]) == (403, "Admin access required")
    assert admin.get("/v1/admin/llm-calls").status_code == 200
    assert engine.get("/v1/admin/llm-calls").status_code == 200


def test_without_accounts_everybody_is_the_same_admin(local: Settings, database: str, stream: str):
    client = create_app(local).test_client()
    run = client.post("/v1/runs", json={"pipeline_id": "bugfix", "task": "x"}).json
    assert run["initiated_by_user_id"] == "anonymous"
    header = {"Authorization": f"Bearer {TOKEN}"}
    run = client.post("/v1/runs", json={"pipeline_id": "bugfix", "task": "x"}, headers=header).json
    assert run["initiated_by_user_id"] == "service:engine"


def test_an_open_door_is_refused_outside_loopback(settings: Settings):
    refuse_unsafe(settings)
    no_auth = replace(settings, auth_enabled=False)
    refuse_unsafe(replace(no_auth, host="::1"))
    refuse_unsafe(replace(no_auth, host="localhost"))
    refuse_unsafe(replace(no_auth, host="0.0.0.0", allow_insecure=True))
    with pytest.raises(Misconfigured, match="ALLOW_INSECURE"):
        refuse_unsafe(replace(no_auth, host="0.0.0.0"))
    missing = {"engine_token": None, "auth_secret": None, "vault_keys": ()}
    with pytest.raises(Misconfigured, match="TOKEN, AUTH_SECRET_KEY, SECRET_ENCRYPTION_KEYS"):
        refuse_unsafe(replace(settings, **missing))
    with pytest.raises(Misconfigured, match="SECRET_ENCRYPTION_KEYS"):
        refuse_unsafe(replace(no_auth, host="0.0.0.0", allow_insecure=True, vault_keys=()))


def test_browsers_of_any_origin_may_read_even_a_401(nobody: FlaskClient):
    answer = nobody.get("/v1/runs", headers={"Origin": "http://dash.example"})
    assert answer.status_code == 401
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert "Access-Control-Allow-Credentials" not in answer.headers


def test_a_preflight_needs_no_token(nobody: FlaskClient):
    asked = {"Origin": "http://dash.example", "Access-Control-Request-Headers": "authorization"}
    answer = nobody.options("/v1/runs/", headers=asked)
    assert answer.status_code == 204
    assert answer.headers["Access-Control-Allow-Headers"] == "authorization"
    assert "DELETE" in answer.headers["Access-Control-Allow-Methods"]


def test_named_origins_get_credentials_and_others_nothing(settings: Settings, database: str):
    chosen = replace(settings, cors_origins=("http://dash.example",))
    client = create_app(chosen).test_client()
    good = client.get("/healthz", headers={"Origin": "http://dash.example"}).headers
    assert good["Access-Control-Allow-Origin"] == "http://dash.example"
    assert good["Access-Control-Allow-Credentials"] == "true"
    bad = client.get("/healthz", headers={"Origin": "http://evil.example"}).headers
    assert "Access-Control-Allow-Origin" not in bad
