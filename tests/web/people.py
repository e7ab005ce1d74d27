"""People who log in, in tests: with passwords, authenticators and tokens of their own."""

from __future__ import annotations

from typing import Any

import pyotp
from flask import Flask
from flask.testing import FlaskClient

from models import passwords
from models.accounts import User
from models.base import db

PASSWORD = "correct horse battery staple"
HASH = passwords.hashed(PASSWORD)


def give_password(name: str = "owner") -> None:
    """Let one of the cast log in with PASSWORD."""
    with db.connection_context():
        User.update(password_hash=HASH).where(User.id == f"usr_{name}").execute()


class Person:
    """One of the cast, at a browser."""

    def __init__(self, app: Flask, name: str = "owner", address: str = "192.0.2.1") -> None:
        give_password(name)
        self.id = f"usr_{name}"
        self.email = f"{name}@cast.example"
        self.http: FlaskClient = app.test_client()
        self.http.environ_base["REMOTE_ADDR"] = address
        self.refresh_token = ""
        self.secret = ""
        self.steps = 0

    def log_in(self, password: str = PASSWORD) -> Any:
        """Try; what is answered counts from then on."""
        answer = self.http.post("/v1/auth/login", json={"email": self.email, "password": password})
        if answer.status_code == 200 and "accessToken" in answer.json:
            self.keep(answer.json)
        return answer

    def keep(self, tokens: dict[str, Any]) -> None:
        self.http.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {tokens['accessToken']}"
        self.refresh_token = tokens["refreshToken"]

    def post(self, path: str, **body: Any) -> Any:
        return self.http.post(f"/v1/auth/{path}", json=body)

    def refresh(self, token: str | None = None) -> Any:
        return self.post("refresh", refreshToken=token or self.refresh_token)

    def status(self) -> int:
        """Whether the API is open to them."""
        return self.http.get("/v1/runs").status_code

    def enrol(self) -> list[str]:
        """Turn the second factor on; gives the recovery codes."""
        self.secret = self.post("2fa/enable").json["secret"]
        answer = self.post("2fa/verify", code=self.code())
        assert answer.status_code == 200, answer.json
        return answer.json["recoveryCodes"]

    def code(self) -> str:
        """A code that has not been used yet, as if time had passed."""
        with db.connection_context():
            User.update(totp_step=0).where(User.id == self.id).execute()
        return pyotp.TOTP(self.secret).now()

    def challenge(self) -> str:
        """A login that waits for its second factor."""
        return self.log_in().json["pendingToken"]
