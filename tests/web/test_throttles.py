"""Who asks too often waits, and others do not wait for them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from models.accounts import UserSession
from models.base import db
from models.config import Settings
from tests.web.people import PASSWORD, Person
from web import create_app

WRONG = {"email": "owner@cast.example", "password": "wrong"}
SETUP = {"email": "a@b.c", "password": PASSWORD}


def log_in(client: FlaskClient, address: str = "192.0.2.1", **form: Any) -> Any:
    return client.post(
        "/v1/auth/login", json=WRONG | form, environ_overrides={"REMOTE_ADDR": address}
    )


def test_the_eleventh_wrong_login_waits_and_is_told_how_long(nobody: FlaskClient):
    assert [log_in(nobody).status_code for _ in range(11)] == [401] * 10 + [429]
    answer = log_in(nobody)
    assert answer.content_type == "application/problem+json"
    assert 0 < int(answer.headers["Retry-After"]) <= 901  # whole seconds, rounded up
    assert answer.headers["Retry-After"] in answer.json["detail"]
    assert answer.json["requestId"]


def test_an_account_is_guessed_no_oftener_from_many_addresses(app: Flask, nobody: FlaskClient):
    ada = Person(app, address="203.0.113.1")
    told = [log_in(nobody, f"192.0.2.{number}").status_code for number in range(11)]
    assert told == [401] * 10 + [429]
    assert ada.log_in().status_code == 429
    other = Person(app, "teammate")
    assert other.log_in().status_code == 200


def test_an_address_guesses_no_more_accounts(nobody: FlaskClient):
    emails = [f"person{number}@example.com" for number in range(11)]
    told = [log_in(nobody, email=email).status_code for email in emails]
    assert told == [401] * 10 + [429]
    assert log_in(nobody, "198.51.100.7", email=emails[-1]).status_code == 401


def test_a_network_of_addresses_counts_as_one(nobody: FlaskClient):
    for number in range(10):
        log_in(nobody, f"2001:db8:1:2::{number}", email=f"person{number}@example.com")
    assert log_in(nobody, "2001:db8:1:2:ffff::1", email="x@example.com").status_code == 429
    assert log_in(nobody, "2001:db8:1:3::1", email="x@example.com").status_code == 401


def test_who_knows_their_password_may_log_in_as_often_as_they_like(app: Flask):
    ada = Person(app)
    assert [ada.log_in().status_code for _ in range(12)] == [200] * 12
    for _ in range(9):
        ada.log_in("wrong")
    assert ada.log_in().status_code == 200  # and the account's count begins anew


@pytest.mark.parametrize("body", [b"", b"[1]", b"{", b'{"email": {"x": 1}}', b"\xff"])
def test_a_login_that_makes_no_sense_is_422_and_counts(nobody: FlaskClient, body: bytes):
    for status in [422] * 10 + [429]:
        answer = nobody.post("/v1/auth/login", data=body, content_type="application/json")
        assert answer.status_code == status


def test_a_body_that_cannot_be_read_does_not_make_us_forget_who_asked(nobody: FlaskClient):
    for _ in range(10):
        log_in(nobody)
    large = b'{"email": "' + b"x" * 3_000_000
    for address, status in (("192.0.2.1", 429), ("203.0.113.5", 413)):
        sent = {"data": large, "environ_overrides": {"REMOTE_ADDR": address}}
        answer = nobody.post("/v1/auth/login", content_type="application/json", **sent)
        assert answer.status_code == status
    assert log_in(nobody).status_code == 429


def test_setting_up_and_refreshing_are_throttled_as_well(nobody: FlaskClient):
    told = [nobody.post("/v1/auth/setup", json=SETUP).status_code for _ in range(6)]
    assert told == [409] * 5 + [429]
    body = {"refreshToken": "x"}
    told = [nobody.post("/v1/auth/refresh", json=body).status_code for _ in range(61)]
    assert told == [401] * 60 + [429]


def test_without_redis_this_process_counts(settings: Settings, database: str):
    lonely = create_app(replace(settings, redis_url="redis://127.0.0.1:1/0")).test_client()
    assert [log_in(lonely).status_code for _ in range(11)] == [401] * 10 + [429]


def test_the_address_is_what_as_many_proxies_say_as_are_trusted(
    settings: Settings, database: str, stream: str
):
    told = {"X-Forwarded-For": "1.1.1.1, 203.0.113.9", "X-Forwarded-Proto": "https"}
    for proxies, address in ((0, "127.0.0.1"), (1, "203.0.113.9"), (2, "1.1.1.1")):
        app = create_app(replace(settings, trusted_proxies=proxies))
        ada = Person(app, address="127.0.0.1")
        ada.http.environ_base |= {"HTTP_X_FORWARDED_FOR": told["X-Forwarded-For"]}
        ada.http.environ_base |= {"HTTP_X_FORWARDED_PROTO": "https"}
        answer = ada.log_in()
        assert ("Strict-Transport-Security" in answer.headers) == (proxies > 0)
        with db.connection_context():
            newest = UserSession.select().order_by(UserSession.created_at.desc()).first()
        assert newest.ip_address == address
