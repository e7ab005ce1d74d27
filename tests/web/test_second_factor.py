"""The second factor: each code once, few tries, and a way back in."""

from __future__ import annotations

import jwt
import pyotp
import pytest
from flask import Flask
from flask.testing import FlaskClient

from models import audit, passwords
from models.accounts import Challenge, RecoveryCode, User
from models.base import db, now_ms
from models.config import Settings
from tasks import proofs, second_factor
from tests.conftest import AUTH_KEY
from tests.web.people import PASSWORD, Person
from web import create_app


@pytest.fixture
def ada(app: Flask) -> Person:
    """The owner, logged in."""
    person = Person(app)
    person.log_in()
    return person


@pytest.fixture
def codes(ada: Person) -> list[str]:
    """The recovery codes of the owner, whose second factor is on."""
    return ada.enrol()


def changed(model: type, **columns: object) -> None:
    with db.connection_context():
        model.update(**columns).execute()


def actions() -> list[str]:
    with db.connection_context():
        return [entry.action for entry in audit.Entry.select().order_by(audit.Entry.seq)]


def test_enrolling_gives_what_an_authenticator_reads_and_codes_for_when_it_is_lost(
    app: Flask, ada: Person
):
    phone = Person(app)
    phone.log_in()
    told = ada.post("totp/setup").json
    uri = pyotp.parse_uri(told["provisioningUri"])
    assert (uri.secret, uri.name, uri.issuer) == (told["secret"], ada.email, "DjinnBot")
    assert ada.http.get("/v1/auth/me").json["totpEnabled"] is False
    answer = ada.post("totp/confirm", code=f" {pyotp.TOTP(told['secret']).now()} ")
    assert answer.json["status"] == "enabled"
    codes = answer.json["recoveryCodes"]
    assert len(set(codes)) == 10
    assert all(len(code) == 19 for code in codes)
    assert ada.http.get("/v1/auth/me").json["totpEnabled"] is True
    assert (phone.status(), ada.status()) == (401, 200)
    with db.connection_context():
        kept = User.get_by_id(ada.id).totp_secret + str(list(RecoveryCode.select().dicts()))
    assert not any(secret in kept for secret in (told["secret"], *codes))
    assert actions() == ["user.second_factor_on"]


def test_beginning_again_draws_another_secret(ada: Person):
    first = ada.post("2fa/enable").json["secret"]
    second = ada.post("2fa/enable").json["secret"]
    assert ada.post("2fa/verify", code=pyotp.TOTP(first).now()).status_code == 400
    assert ada.post("2fa/verify", code=pyotp.TOTP(second).now()).status_code == 200


def test_what_cannot_be_turned_on_says_why(ada: Person, engine: FlaskClient, owner: FlaskClient):
    assert ada.post("2fa/verify", code="123456").status_code == 400
    assert engine.post("/v1/auth/2fa/enable").status_code == 400
    assert owner.post("/v1/auth/2fa/enable").status_code == 403  # a key
    ada.enrol()
    assert ada.post("2fa/enable").status_code == 409
    assert ada.post("2fa/verify", code=ada.code()).status_code == 409


def test_the_anonymous_have_no_second_factor(local: Settings, app: Flask):
    client = create_app(local).test_client()
    assert client.post("/v1/auth/2fa/enable").status_code == 404
    assert client.post("/v1/auth/2fa/disable", json={"code": "1"}).status_code == 404


def test_a_password_alone_opens_nothing(ada: Person, codes: list[str]):
    answer = ada.log_in()
    assert answer.status_code == 200
    assert set(answer.json) == {"requiresTOTP", "requires2FA", "pendingToken"}
    for path in ("/v1/auth/me", "/v1/runs"):
        header = {"Authorization": f"Bearer {answer.json['pendingToken']}"}
        told = ada.http.get(path, headers=header)
        assert (told.status_code, told.json["detail"]) == (401, "Invalid token type")


@pytest.mark.parametrize("path", ["login/2fa", "login/totp"])
def test_a_code_finishes_the_login_once(ada: Person, codes: list[str], path: str):
    pending = ada.challenge()
    code = ada.code()
    answer = ada.post(path, pendingToken=pending, code=f" {code}\n")
    assert answer.status_code == 200
    assert answer.json["user"]["totpEnabled"] is True
    claims = jwt.decode(answer.json["accessToken"], AUTH_KEY, ["HS256"], audience="djinnbot")
    assert claims["totp_verified"] is True
    again = ada.post(path, pendingToken=pending, code=code)
    assert again.status_code == 401


def test_a_code_is_not_let_in_twice_though_its_half_minute_lasts(ada: Person, codes: list[str]):
    code = ada.code()
    assert ada.post("login/2fa", pendingToken=ada.challenge(), code=code).status_code == 200
    assert ada.post("login/2fa", pendingToken=ada.challenge(), code=code).status_code == 401
    assert ada.post("2fa/recovery-codes", code=code).status_code == 401
    assert ada.post("2fa/disable", code=code).status_code == 401


def test_a_clock_may_be_half_a_minute_off_and_no_more(
    ada: Person, codes: list[str], monkeypatch: pytest.MonkeyPatch
):
    totp, now = pyotp.TOTP(ada.secret), now_ms() // 1000
    monkeypatch.setattr(second_factor, "now_ms", lambda: now * 1000)  # it stands still
    for offset, status in ((-30, 200), (30, 200), (-90, 401), (90, 401)):
        ada.code()
        answer = ada.post("login/2fa", pendingToken=ada.challenge(), code=totp.at(now + offset))
        assert answer.status_code == status, offset


def test_five_wrong_codes_burn_the_login_that_waits(ada: Person, codes: list[str]):
    pending = ada.challenge()
    for _ in range(second_factor.TRIES):
        answer = ada.post("login/2fa", pendingToken=pending, code="000000")
        assert (answer.status_code, answer.json["detail"]) == (401, second_factor.WRONG)
    answer = ada.post("login/2fa", pendingToken=pending, code=ada.code())
    assert answer.status_code == 401
    assert actions()[-1] == "login.second_factor_exhausted"
    fresh = ada.post("login/2fa", pendingToken=ada.challenge(), code=ada.code())
    assert fresh.status_code == 200


def test_twenty_wrong_codes_in_an_hour_are_the_last(
    ada: Person, codes: list[str], monkeypatch: pytest.MonkeyPatch
):
    for number in range(proofs.HOURLY):
        if number % second_factor.TRIES == 0:
            pending = ada.challenge()
        ada.post("login/2fa", pendingToken=pending, code="000000")
    pending = ada.challenge()
    answer = ada.post("login/2fa", pendingToken=pending, code=ada.code())
    assert answer.status_code == 429
    assert 3_500 < int(answer.headers["Retry-After"]) <= 3_601
    assert ada.post("login/recovery", pendingToken=pending, code=codes[0]).status_code == 429
    changed(Challenge, created_at=Challenge.created_at - proofs.HOUR_MS)
    answer = ada.post("login/2fa", pendingToken=ada.challenge(), code=ada.code())
    assert answer.status_code == 200


def test_guessing_is_counted_while_logged_in_too(ada: Person, codes: list[str]):
    for number in range(proofs.HOURLY):
        path = ("2fa/disable", "2fa/recovery-codes")[number % 2]
        assert ada.post(path, code="000000", password="wrong").status_code == 401
    assert ada.post("2fa/disable", password=PASSWORD).status_code == 429
    body = {"currentPassword": PASSWORD, "newPassword": "another password"}
    assert ada.post("password", **body).status_code == 429


@pytest.mark.parametrize(
    ("claims", "status"),
    [({"exp": 1}, 401), ({"jti": "chl_none"}, 401), ({"type": "access"}, 400), ({}, 200)],
)
def test_only_a_pending_token_that_lives_is_answered(
    ada: Person, codes: list[str], claims: dict, status: int
):
    told = jwt.decode(ada.challenge(), AUTH_KEY, ["HS256"], audience="djinnbot") | claims
    token = jwt.encode(told, AUTH_KEY, "HS256")
    code = ada.code()
    assert ada.post("login/2fa", pendingToken=token, code=code).status_code == status
    assert ada.post("login/2fa", pendingToken="junk", code=code).status_code == 401


def test_a_login_that_waited_too_long_is_over(ada: Person, codes: list[str]):
    pending = ada.challenge()
    changed(Challenge, expires_at=now_ms() - 1)
    assert ada.post("login/2fa", pendingToken=pending, code=ada.code()).status_code == 401


def test_who_was_disabled_meanwhile_does_not_come_in(ada: Person, codes: list[str]):
    pending, code = ada.challenge(), ada.code()
    changed(User, is_active=False)
    assert ada.post("login/2fa", pendingToken=pending, code=code).status_code == 401
    assert ada.post("login/recovery", pendingToken=pending, code=codes[0]).status_code == 401


def test_who_turned_it_off_meanwhile_logs_in_anew(ada: Person, codes: list[str]):
    pending = ada.challenge()
    changed(User, totp_enabled=False)
    assert ada.post("login/2fa", pendingToken=pending, code="123456").status_code == 400


def test_a_recovery_code_works_once_however_it_is_typed(ada: Person, codes: list[str]):
    typed = f" {codes[0].lower().replace('-', ' ')} "
    answer = ada.post("login/recovery", pendingToken=ada.challenge(), code=typed)
    assert answer.status_code == 200
    assert answer.json["remainingRecoveryCodes"] == 9
    again = ada.post("login/recovery", pendingToken=ada.challenge(), code=codes[0])
    assert again.status_code == 401
    other = ada.post("login/2fa", pendingToken=ada.challenge(), code=codes[1])
    assert other.status_code == 200  # also where a code of the authenticator goes
    with db.connection_context():
        assert second_factor.codes_left(User.get_by_id(ada.id)) == 8


@pytest.mark.parametrize("code", ["123456", "ABCD-EFGH", "é" * 16, "x" * 4096, "\x00"])
def test_what_is_no_recovery_code_is_401(ada: Person, codes: list[str], code: str):
    for path in ("login/recovery", "login/2fa"):
        answer = ada.post(path, pendingToken=ada.challenge(), code=code)
        assert answer.status_code == 401


def test_another_persons_recovery_code_opens_nothing(app: Flask, ada: Person, codes: list[str]):
    eve = Person(app, "stranger")
    eve.log_in()
    eve.enrol()
    answer = eve.post("login/recovery", pendingToken=eve.challenge(), code=codes[0])
    assert answer.status_code == 401


@pytest.mark.parametrize("path", ["2fa/recovery-codes", "totp/recovery-codes"])
def test_new_recovery_codes_replace_the_old(ada: Person, codes: list[str], path: str):
    assert ada.post(path, code="000000").status_code == 401
    fresh = ada.post(path, code=ada.code()).json["recoveryCodes"]
    assert len(fresh) == 10
    assert not set(fresh) & set(codes)
    old = ada.post("login/recovery", pendingToken=ada.challenge(), code=codes[0])
    new = ada.post("login/recovery", pendingToken=ada.challenge(), code=fresh[0])
    assert (old.status_code, new.status_code) == (401, 200)


@pytest.mark.parametrize("proof", ["password", "totpCode", "code"])
@pytest.mark.parametrize(("method", "path"), [("POST", "2fa/disable"), ("DELETE", "totp")])
def test_one_proof_turns_it_off(ada: Person, codes: list[str], method: str, path: str, proof: str):
    body = {proof: PASSWORD if proof == "password" else ada.code()}
    answer = ada.http.open(f"/v1/auth/{path}", method=method, json=body)
    assert (answer.status_code, answer.json) == (200, {"status": "disabled"})
    assert "accessToken" in ada.log_in().json
    with db.connection_context():
        assert User.get_by_id(ada.id).totp_secret is None
        assert not RecoveryCode.select().exists()
    assert ada.post("2fa/disable", password=PASSWORD).status_code == 400
    assert ada.post("2fa/recovery-codes", code="123456").status_code == 400


def test_no_proof_turns_nothing_off(ada: Person, codes: list[str]):
    for body in ({}, {"password": None}, {"password": "wrong", "code": "000000"}):
        assert ada.post("2fa/disable", **body).status_code == 401
    assert ada.http.get("/v1/auth/me").json["totpEnabled"] is True


def test_a_secret_whose_key_is_gone_is_no_fault_of_ours_and_lets_nobody_in(nobody: FlaskClient):
    with db.connection_context():
        told = {"totp_enabled": True, "totp_secret": "v1:gone:AAAA"}
        told["password_hash"] = passwords.hashed("correct horse")
        User.update(**told).where(User.id == "usr_owner").execute()
    form = {"email": "owner@cast.example", "password": "correct horse"}
    pending = nobody.post("/v1/auth/login", json=form).json["pendingToken"]
    answer = nobody.post("/v1/auth/login/2fa", json={"pendingToken": pending, "code": "123456"})
    assert (answer.status_code, "does not open" in answer.json["detail"]) == (503, True)
