"""What clients read when something goes wrong."""

from __future__ import annotations

from dataclasses import replace

import pytest
from flask import Flask
from flask.testing import FlaskClient

from models import base
from models.config import Settings
from models.errors import TooMany
from web import create_app
from web.security import public

PROBLEM = "application/problem+json"


@pytest.fixture
def frank(settings: Settings, database: str, stream: str) -> Flask:
    """An application that answers faults of ours as it would to strangers."""
    app = create_app(replace(settings, auth_enabled=False))

    def breaks() -> None:
        raise RuntimeError("the password is hunter2")

    def busy() -> None:
        raise TooMany(after=7)

    app.add_url_rule("/breaks", view_func=public(breaks))
    app.add_url_rule("/busy", view_func=public(busy))
    return app


def test_every_error_is_one_problem_document(admin: FlaskClient):
    answer = admin.get("/v1/runs/none", headers={"X-Request-ID": "mine-1"})
    assert answer.content_type == PROBLEM
    assert answer.json == {
        "type": "about:blank",
        "title": "Not Found",
        "status": 404,
        "detail": "Run none not found",
        "instance": "/v1/runs/none",
        "requestId": "mine-1",
    }
    assert answer.headers["X-Request-ID"] == "mine-1"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nowhere", 404),
        ("GET", "/v1/runs//cancel", 404),
        ("PATCH", "/v1/runs", 405),
        ("GET", "/v1/runs/%00", 404),
        ("GET", "/v1/runs/%ff%fe", 404),
        ("PUT", "/v1/pipelines/%00", 422),
        ("GET", "/v1/runs/" + "x" * 5000, 404),
    ],
)
def test_odd_addresses_are_answered_calmly(admin: FlaskClient, method, path, status):
    answer = admin.open(path, method=method)
    assert (answer.status_code, answer.content_type) == (status, PROBLEM)


def test_a_method_that_is_not_there_says_which_are(admin: FlaskClient):
    assert "POST" in admin.patch("/v1/runs").headers["Allow"]


def test_a_body_that_is_not_json_says_where_it_breaks(admin: FlaskClient):
    answer = admin.post("/v1/runs", data=b'{"task": ', content_type="application/json")
    assert answer.status_code == 422
    (fault,) = answer.json["errors"]
    assert fault["type"] == "json_invalid"
    assert fault["loc"][0] == "body"


NESTED = b'{"pipeline_id": "bugfix", "task": "x", "more": %s}' % (b"[" * 900 + b"]" * 900)


@pytest.mark.parametrize(
    "body", [b"[" * 100_000, b'{"a":' * 50_000, b"\xff\xfe", b"NaN", NESTED, b"[null]"]
)
def test_hostile_json_is_422(admin: FlaskClient, body: bytes):
    answer = admin.post("/v1/runs", data=body, content_type="application/json")
    assert answer.status_code == 422


def test_another_media_type_is_415_unless_there_is_no_body(admin: FlaskClient):
    form = {"pipeline_id": "bugfix"}
    assert admin.post("/v1/runs", data=form).status_code == 415
    assert admin.post("/v1/runs").status_code == 422


def test_a_body_that_is_too_large_is_413(admin: FlaskClient):
    answer = admin.post("/v1/runs", data=b"x" * 3_000_000, content_type="application/json")
    assert (answer.status_code, answer.content_type) == (413, PROBLEM)


def test_our_faults_say_nothing_of_their_cause(frank: Flask):
    answer = frank.test_client().get("/breaks")
    assert answer.status_code == 500
    assert "hunter2" not in answer.text
    assert answer.json["requestId"] == answer.headers["X-Request-ID"]


def test_too_many_requests_say_when_to_come_back(frank: Flask):
    answer = frank.test_client().get("/busy")
    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "7")


def test_a_database_that_is_away_is_503_and_status_still_answers(frank: Flask):
    base.db.close_all()
    base.connect("postgresql://nobody@127.0.0.1:1/none")
    client = frank.test_client()
    answer = client.get("/v1/runs")
    assert answer.status_code == 503
    assert int(answer.headers["Retry-After"]) > 0
    assert client.get("/readyz").status_code == 503
    assert client.get("/healthz").status_code == 200
    told = client.get("/v1/status")
    assert (told.status_code, told.json["status"]) == (200, "degraded")
    assert told.json["database_connected"] is False


def test_answers_are_not_sniffed_framed_or_kept(admin: FlaskClient):
    headers = admin.get("/v1/runs").headers
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    assert headers["Cache-Control"] == "no-store"
