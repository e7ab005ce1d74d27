"""Logging in, staying logged in, logging out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from flask import Flask
from flask.testing import FlaskClient

from models import audit, config, passwords
from models.accounts import RefreshToken, User, UserSession, successor
from models.base import db, now_ms
from models.config import Settings
from tasks import logins
from tests.web.people import PASSWORD, Person
from web import create_app


@pytest.fixture
def ada(app: Flask) -> Person:
    """The owner, logged in."""
    person = Person(app)
    assert person.log_in().status_code == 200
    return person


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """The environment to change; settings are read anew."""
    config.settings.cache_clear()
    yield monkeypatch
    monkeypatch.undo()
    config.settings.cache_clear()


def empty() -> None:
    with db.connection_context():
        User.delete().execute()


def audited() -> list[str]:
    with db.connection_context():
        return [entry.action for entry in audit.Entry.select().order_by(audit.Entry.seq)]


SETUP = {"email": " Ada@Example.com ", "password": PASSWORD}


def test_the_first_account_is_an_admins_and_is_logged_in(app: Flask, nobody: FlaskClient):
    empty()
    nobody.post("/v1/waitlist", json={"email": SETUP["email"]})
    told = nobody.get("/v1/auth/status").json
    assert told == {"authEnabled": True, "setupComplete": False, "oidcProviders": []}
    answer = nobody.post("/v1/auth/setup", json=SETUP)
    assert answer.status_code == 200
    assert answer.json["user"] == {
        "id": answer.json["user"]["id"],
        "email": "ada@example.com",
        "displayName": "ada",
        "isAdmin": True,
        "totpEnabled": False,
        "slackId": None,
    }
    assert (answer.json["tokenType"], answer.json["expiresIn"]) == ("Bearer", 900)
    token = {"Authorization": f"Bearer {answer.json['accessToken']}"}
    assert nobody.get("/v1/users", headers=token).status_code == 200
    assert nobody.get("/v1/auth/status").json["setupComplete"] is True
    assert nobody.post("/v1/auth/setup", json=SETUP).status_code == 409
    assert audited() == ["user.set_up"]
    assert [each["status"] for each in nobody.get("/v1/waitlist", headers=token).json] == [
        "registered"
    ]


@pytest.mark.parametrize(
    "wrong",
    [
        {"password": "short"},
        {"password": "x" * 1025},
        {"password": None},
        {"email": "no address"},
        {"email": "a@b@c"},
        {"email": "@"},
        {"email": "a@b\n.c"},
        {"email": "a@" + "b" * 320},
        {"email": 1},
        {"email": "ǅ@example.com\x00"},
    ],
)
def test_a_setup_that_makes_no_sense_is_422_and_repeats_no_password(
    app: Flask, nobody: FlaskClient, wrong: dict
):
    empty()
    answer = nobody.post("/v1/auth/setup", json=SETUP | wrong)
    assert answer.status_code == 422
    assert answer.json["errors"][0]["loc"] == ["body", next(iter(wrong))]
    assert "short" not in answer.text
    with db.connection_context():
        assert not User.select().exists()


def test_a_setup_token_must_be_repeated(
    app: Flask, nobody: FlaskClient, environment: pytest.MonkeyPatch
):
    empty()
    environment.setenv("SETUP_TOKEN", "wish upon a star")
    assert nobody.post("/v1/auth/setup", json=SETUP).status_code == 403
    wrong = SETUP | {"setupToken": "wish upon a stär"}
    assert nobody.post("/v1/auth/setup", json=wrong).status_code == 403
    right = SETUP | {"setupToken": "wish upon a star"}
    assert nobody.post("/v1/auth/setup", json=right).status_code == 200


def test_a_password_opens_a_login(ada: Person):
    me = ada.http.get("/v1/auth/me").json
    assert me == {
        "id": "usr_owner",
        "email": "owner@cast.example",
        "displayName": None,
        "isAdmin": False,
        "isService": False,
        "totpEnabled": False,
        "slackId": None,
    }
    assert ada.status() == 200


def test_whoever_cannot_log_in_hears_the_same_whatever_was_wrong(app: Flask):
    ada = Person(app)
    with db.connection_context():
        User.update(password_hash=None).where(User.id == "usr_teammate").execute()
    answers = [ada.log_in("wrong")]
    for email in ("teammate@cast.example", "nobody@cast.example"):
        ada.email = email
        answers.append(ada.log_in())
    assert {answer.status_code for answer in answers} == {401}
    assert len({answer.json["detail"] for answer in answers}) == 1


def test_whoever_cannot_log_in_costs_the_same_work(app: Flask, request: pytest.FixtureRequest):
    work: list[str] = []

    def counted(done, *arguments):
        work.append(done.__name__)
        return done(*arguments)

    ada = Person(app)
    passwords.hash_elsewhere(counted)
    request.addfinalizer(lambda: passwords.hash_elsewhere(None))
    ada.log_in("wrong")
    ada.email = "nobody@cast.example"
    ada.log_in("wrong")
    assert work == ["_verified", "_verified"]


def test_only_who_knows_the_password_hears_that_the_account_is_disabled(app: Flask):
    ada = Person(app)
    with db.connection_context():
        User.update(is_active=False).where(User.id == ada.id).execute()
    assert ada.log_in().json["detail"] == "This account is disabled"
    assert ada.log_in("wrong").json["detail"] == "Wrong email or password"


def test_an_address_is_the_same_in_capitals_and_a_password_however_it_is_composed(app: Flask):
    ada = Person(app)
    with db.connection_context():
        User.update(password_hash=passwords.hashed("Zoë's café")).where(User.id == ada.id).execute()
    ada.email = " OWNER@cast.example "
    assert ada.log_in("Zoe\u0308's cafe\u0301").status_code == 200


def test_a_hash_of_yesterdays_strength_is_renewed(app: Flask):
    ada = Person(app)
    weak = passwords.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(PASSWORD)
    with db.connection_context():
        User.update(password_hash=weak).where(User.id == ada.id).execute()
    assert ada.log_in().status_code == 200
    with db.connection_context():
        kept = User.get_by_id(ada.id).password_hash
    assert not passwords.outdated(kept)
    assert ada.log_in().status_code == 200


def test_the_hash_of_nobody_takes_as_long_as_ours():
    assert not passwords.outdated(passwords.NOBODYS)
    assert not passwords.matches(None, "")


def test_refreshing_gives_a_new_pair_and_the_login_goes_on(ada: Person):
    first = ada.refresh_token
    answer = ada.refresh()
    assert answer.status_code == 200
    assert answer.json["refreshToken"] == successor(first) != first
    assert len(first) == len(answer.json["refreshToken"]) == 64
    assert answer.json["user"]["id"] == ada.id
    ada.keep(answer.json)
    assert ada.status() == 200
    with db.connection_context():
        assert UserSession.select().where(UserSession.user == ada.id).count() == 1


def test_two_tabs_may_refresh_with_the_same_token_even_one_after_the_other(ada: Person):
    first = ada.refresh_token
    one = ada.refresh(first).json["refreshToken"]
    assert ada.refresh(first).json["refreshToken"] == one
    two = ada.refresh(one).json["refreshToken"]
    assert ada.refresh(first).json["refreshToken"] == two  # the one that keeps the login now
    assert ada.refresh(two).status_code == 200


def test_a_token_that_comes_again_later_ends_the_login(ada: Person):
    first = ada.refresh_token
    second = ada.refresh().json["refreshToken"]
    with db.connection_context():
        RefreshToken.update(used_at=RefreshToken.used_at - logins.GRACE_MS - 1).execute()
    again = ada.refresh(first)
    assert (again.status_code, again.json["detail"]) == (401, logins.OVER)
    assert ada.refresh(second).status_code == 401
    assert ada.status() == 401
    assert audited() == ["login.token_reused"]


def test_a_login_slides_but_not_for_ever(ada: Person):
    with db.connection_context():
        UserSession.update(expires_at=now_ms() + 60_000, ends_at=now_ms() + 120_000).execute()
    assert ada.refresh().status_code == 200
    with db.connection_context():
        session = UserSession.get()
        assert session.expires_at == session.ends_at
        UserSession.update(expires_at=now_ms() - 1).execute()
    assert ada.refresh().status_code == 401
    assert ada.status() == 401


@pytest.mark.parametrize("token", ["x", "é", "x" * 4096])
def test_an_unknown_refresh_token_is_401(ada: Person, token: str):
    assert ada.refresh(token).status_code == 401


def test_a_refresh_after_the_account_was_disabled_is_401(ada: Person):
    with db.connection_context():
        User.update(is_active=False).where(User.id == ada.id).execute()
    assert ada.refresh().status_code == 401


def test_logging_out_ends_the_login_at_once(ada: Person):
    assert ada.post("logout", refreshToken=ada.refresh_token).json == {"status": "ok"}
    assert ada.status() == 401
    assert ada.refresh().status_code == 401


def test_logging_out_needs_no_token_and_an_unknown_one_is_fine(app: Flask, ada: Person):
    other = Person(app)
    other.log_in()
    assert other.post("logout", refreshToken="unknown").status_code == 200
    assert other.status() == 401
    assert ada.post("logout").status_code == 200
    assert ada.status() == 401


def test_nobody_logs_another_out(app: Flask, ada: Person):
    eve = Person(app, "stranger")
    eve.log_in()
    assert eve.post("logout", refreshToken=ada.refresh_token).status_code == 200
    assert ada.status() == 200
    with db.connection_context():
        theirs = UserSession.get(UserSession.user == ada.id).id
    eve.log_in()
    assert eve.http.delete(f"/v1/auth/sessions/{theirs}").status_code == 404
    assert ada.status() == 200


def test_somebody_sees_where_they_are_logged_in_and_ends_one(app: Flask, ada: Person):
    phone = Person(app, address="198.51.100.7")
    phone.http.environ_base["HTTP_USER_AGENT"] = "phone"
    phone.log_in()
    shown = ada.http.get("/v1/auth/sessions").json
    assert [(one["ipAddress"], one["current"]) for one in shown] == [
        ("198.51.100.7", False),
        ("192.0.2.1", True),
    ]
    assert shown[0]["userAgent"] == "phone"
    answer = ada.http.delete(f"/v1/auth/sessions/{shown[0]['id']}")
    assert answer.json == {"status": "ended", "id": shown[0]["id"]}
    assert (phone.status(), ada.status()) == (401, 200)
    assert ada.http.delete(f"/v1/auth/sessions/{shown[0]['id']}").status_code == 404


def test_a_new_password_ends_the_other_logins(app: Flask, ada: Person):
    phone = Person(app)
    phone.log_in()
    wrong = ada.post("password", currentPassword="wrong", newPassword="another password")
    assert wrong.status_code == 401
    answer = ada.post("password", currentPassword=PASSWORD, newPassword="another password")
    assert answer.json == {"status": "ok"}
    assert (phone.status(), ada.status()) == (401, 200)
    assert phone.log_in().status_code == 401
    assert phone.log_in("another password").status_code == 200
    assert audited() == ["user.password_changed"]


def test_a_key_changes_no_password(app: Flask, ada: Person, owner: FlaskClient):
    body = {"currentPassword": PASSWORD, "newPassword": "another password"}
    assert owner.post("/v1/auth/password", json=body).status_code == 403


def test_an_account_without_a_password_changes_none(ada: Person):
    with db.connection_context():
        User.update(password_hash=None).where(User.id == ada.id).execute()
    answer = ada.post("password", currentPassword=PASSWORD, newPassword="another password")
    assert answer.status_code == 400


def test_of_very_many_logins_the_least_used_end(ada: Person, app: Flask):
    with db.connection_context():
        now = now_ms()
        for number in range(logins.MOST_LOGINS):
            more = {
                "expires_at": now + 60_000,
                "ends_at": now + 60_000,
                "used_at": now - 1 - number,
            }
            UserSession(user_id=ada.id, **more).add()
    phone = Person(app)
    phone.log_in()
    with db.connection_context():
        assert UserSession.select().count() == logins.MOST_LOGINS
    assert (phone.status(), ada.status()) == (200, 200)


def test_what_is_over_is_forgotten(ada: Person):
    with db.connection_context():
        assert logins.forget_old() == 0
        UserSession.update(expires_at=now_ms() - 1).execute()
        assert logins.forget_old() == 1
        assert not RefreshToken.select().exists()


def test_services_and_the_anonymous_say_who_they_are(
    engine: FlaskClient, local: Settings, app: Flask
):
    told = engine.get("/v1/auth/me").json
    assert (told["id"], told["displayName"]) == ("service:engine", "Engine Service")
    assert (told["isAdmin"], told["isService"], told["email"]) == (True, True, None)
    client = create_app(local).test_client()
    told = client.get("/v1/auth/me").json
    assert (told["id"], told["displayName"]) == ("anonymous", "Anonymous")
    assert (told["isAdmin"], told["isService"]) == (True, False)
    assert client.get("/v1/auth/status").json["authEnabled"] is False
    assert client.post("/v1/auth/logout").status_code == 200


def test_without_a_signing_key_nobody_is_half_logged_in(
    settings: Settings, database: str, stream: str, environment: pytest.MonkeyPatch
):
    environment.delenv("AUTH_SECRET_KEY")
    empty()
    bare = replace(settings, auth_enabled=False, auth_secret=None)
    client = create_app(bare).test_client()
    assert client.post("/v1/auth/setup", json=SETUP).status_code == 503
    login = {"email": "a@b.c", "password": PASSWORD}
    assert client.post("/v1/auth/login", json=login).status_code == 503
    with db.connection_context():
        assert not User.select().exists()
