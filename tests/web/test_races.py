"""Many at once, through a real server: of those who race for one thing, one wins."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import httpx2 as httpx
import pytest
from flask import Flask

from models import audit
from models.accounts import ApiKey, Challenge, RecoveryCode, RefreshToken, User, UserSession
from models.base import db
from models.config import Settings
from tasks import logins, second_factor
from tests.conftest import TOKEN
from tests.web.people import PASSWORD, Person, give_password
from tests.web.served import at_once, served, statuses
from web import create_app

MANY = 20


class Crowd:
    """Callers of one server, each from an address of their own."""

    def __init__(self, url: str) -> None:
        self.url = url

    def ask(self, number: int, method: str, path: str, token: str = "", **body: Any) -> Any:
        headers = {"X-Forwarded-For": f"198.51.100.{number + 1}"}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        url = f"{self.url}/v1/{path}"
        return httpx.request(method, url, json=body or None, headers=headers, timeout=60)

    def all_post(self, path: str, **body: Any) -> list[httpx.Response]:
        return at_once(MANY, lambda number: self.ask(number, "POST", path, **body))


@pytest.fixture
def behind(settings: Settings, database: str, stream: str) -> Flask:
    """The application behind one proxy that it trusts."""
    return create_app(replace(settings, trusted_proxies=1))


@pytest.fixture
def crowd(behind: Flask) -> Iterator[Crowd]:
    with served(behind) as url:
        yield Crowd(url)


def rows(model: Any) -> int:
    with db.connection_context():
        return model.select().count()


def test_of_many_who_set_up_at_once_one_becomes_the_admin(crowd: Crowd):
    with db.connection_context():
        User.delete().execute()
    answers = at_once(
        MANY,
        lambda number: crowd.ask(
            number, "POST", "auth/setup", email=f"ada{number}@example.com", password=PASSWORD
        ),
    )
    assert statuses(answers) == [200] + [409] * (MANY - 1)
    assert rows(User) == rows(UserSession) == 1


def test_many_refreshes_of_one_token_make_one_rotation_and_one_answer(behind: Flask, crowd: Crowd):
    ada = Person(behind)
    ada.log_in()
    answers = crowd.all_post("auth/refresh", refreshToken=ada.refresh_token)
    assert statuses(answers) == [200] * MANY
    (following,) = {answer.json()["refreshToken"] for answer in answers}
    assert rows(RefreshToken) == 2
    assert crowd.ask(0, "POST", "auth/refresh", refreshToken=following).status_code == 200


def test_many_uses_of_a_stolen_token_end_the_login_and_say_so_once(behind: Flask, crowd: Crowd):
    ada = Person(behind)
    ada.log_in()
    ada.refresh()
    with db.connection_context():
        RefreshToken.update(used_at=RefreshToken.used_at - logins.GRACE_MS - 1).execute()
    answers = crowd.all_post("auth/refresh", refreshToken=ada.refresh_token)
    assert statuses(answers) == [401] * MANY
    assert (rows(UserSession), rows(audit.Entry)) == (0, 1)


def challenged(ada: Person, count: int) -> list[str]:
    """So many logins that wait for a second factor."""
    return [ada.challenge() for _ in range(count)]


def test_one_recovery_code_opens_one_of_many_logins(behind: Flask, crowd: Crowd):
    ada = Person(behind)
    ada.log_in()
    code = ada.enrol()[0]
    pending = challenged(ada, MANY)
    answers = at_once(
        MANY,
        lambda number: crowd.ask(
            number, "POST", "auth/login/recovery", pendingToken=pending[number], code=code
        ),
    )
    assert statuses(answers) == [200] + [401] * (MANY - 1)
    with db.connection_context():
        assert RecoveryCode.select().where(RecoveryCode.used_at.is_null()).count() == 9


def test_one_code_of_an_authenticator_opens_one_of_many_logins(behind: Flask, crowd: Crowd):
    ada = Person(behind)
    ada.log_in()
    ada.enrol()
    pending, code = challenged(ada, MANY), ada.code()
    answers = at_once(
        MANY,
        lambda number: crowd.ask(
            number, "POST", "auth/login/2fa", pendingToken=pending[number], code=code
        ),
    )
    assert statuses(answers) == [200] + [401] * (MANY - 1)


def test_many_guesses_at_once_are_no_more_than_five(behind: Flask, crowd: Crowd):
    ada = Person(behind)
    ada.log_in()
    ada.enrol()
    pending = ada.challenge()
    answers = crowd.all_post("auth/login/2fa", pendingToken=pending, code="000000")
    assert statuses(answers) == [401] * MANY
    wrong = [answer for answer in answers if answer.json()["detail"] == second_factor.WRONG]
    assert len(wrong) == second_factor.TRIES
    with db.connection_context():
        assert max(row.tries for row in Challenge.select()) == second_factor.TRIES
        exhausted = audit.Entry.action == "login.second_factor_exhausted"
        assert audit.Entry.select().where(exhausted).count() == 1


def test_two_admins_who_demote_each_other_do_not_leave_none(behind: Flask, crowd: Crowd):
    with db.connection_context():
        User.update(is_admin=True).where(User.id == "usr_owner").execute()
    pairs = (("djb_admin", "usr_owner"), ("djb_owner", "usr_admin"))
    answers = at_once(
        2,
        lambda number: crowd.ask(
            number, "PUT", f"users/{pairs[number][1]}", token=pairs[number][0], isAdmin=False
        ),
    )
    assert statuses(answers)[0] == 200
    assert statuses(answers)[1] in {403, 404, 409}
    with db.connection_context():
        assert User.select().where(User.is_admin).count() == 1


def test_of_many_accounts_with_one_email_one_is_made(crowd: Crowd):
    form = {"email": "grace@example.com", "password": PASSWORD}
    answers = at_once(MANY, lambda number: crowd.ask(number, "POST", "users", "djb_admin", **form))
    assert statuses(answers) == [201] + [409] * (MANY - 1)


def test_an_agent_gets_one_key_however_many_ask(crowd: Crowd):
    for rotate, made in ((False, 1), (True, MANY)):
        answers = at_once(
            MANY,
            lambda number, rotate=rotate: crowd.ask(
                number, "POST", "auth/api-keys/agent", TOKEN, agentId="yukihiro", rotate=rotate
            ),
        )
        assert statuses(answers) == [200] * MANY
        assert sum(answer.json()["created"] for answer in answers) == made
    with db.connection_context():
        living = (ApiKey.agent_id == "yukihiro") & ApiKey.is_active
        assert ApiKey.select().where(living).count() == 1


def test_who_logs_in_while_being_disabled_is_out_in_the_end(crowd: Crowd):
    give_password()
    login = {"email": "owner@cast.example", "password": PASSWORD}

    def ask(number: int) -> httpx.Response:
        if number == 4:
            return crowd.ask(number, "DELETE", "users/usr_owner", token="djb_admin")
        return crowd.ask(number, "POST", "auth/login", **login)

    assert set(statuses(at_once(8, ask))) <= {200, 401}
    assert rows(UserSession) == 0
