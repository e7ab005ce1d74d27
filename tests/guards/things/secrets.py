"""A secret and cookies that the agent was given, and a secret that the teammate was lent."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask.testing import FlaskClient

from models.accounts import User
from models.base import db
from models.principals import SERVICE
from tasks import secrets
from tests.guards.things.shipped import AGENT


def upload(*names: str) -> dict[str, Any]:
    """A form with a cookie file, as a browser sends it."""
    file = 'cookie_file"; filename="c.txt', "x.example\tTRUE\t/\tTRUE\t0\tsid\t12345678"
    parts = [file, *((name, "x") for name in names)]
    lines = [f'--x\r\nContent-Disposition: form-data; name="{n}"\r\n\r\n{v}\r\n' for n, v in parts]
    body = "".join(lines) + "--x--\r\n"
    return {"data": body.encode(), "content_type": "multipart/form-data; boundary=x"}


UPLOADS = {
    "POST /v1/browser/cookies": upload("name"),
    "PUT /v1/browser/cookies/<cookie_set_id>/content": upload(),
}
OTHERS = {
    "/v1/admin/secrets/<secret_id>/grant-user/<user_id>": {
        "secret_id": "lent_id",
        "user_id": "borrower_id",
    },
}


def make(owner: FlaskClient, work: Callable[..., int]) -> dict[str, str]:
    secret = owner.post("/v1/secrets", json={"name": "Token", "value": "x"}).json["id"]
    cookies = owner.post("/v1/browser/cookies", **upload("name")).json["id"]
    owner.post(f"/v1/secrets/{secret}/grant/{AGENT}")
    owner.post(f"/v1/browser/cookies/agents/{AGENT}/{cookies}/grant")
    form = {"name": "Lent", "env_key": "LENT", "value": "x", "secret_type": "other"}
    with db.connection_context():
        lent = secrets.create(SERVICE, form)
        secrets.lend(SERVICE, lent.id, User.get_by_id("usr_teammate"))
    loan = {"lent_id": lent.id, "borrower_id": "usr_teammate"}
    return {"secret_id": secret, "cookie_set_id": cookies, **loan}
