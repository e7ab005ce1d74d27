"""One of everything that has an id, the owner's, in the project that the teammate shares.

`make` gives what stands in an address in place of each `<name>`; `BODIES` and `QUERIES` are for
views whose documented example does not fit these things.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from flask.testing import FlaskClient

from models.accounts import User, UserSession
from models.base import db, now_ms
from models.llm_calls import LlmCall
from models.notifications import Notification
from models.principals import SERVICE
from models.sessions import Session
from models.steps import Step
from models.waitlist import Entry as Waiting
from tasks import oidc, secrets
from tests.conftest import PROJECT

AGENT = "yukihiro"
SHIPPED = {"agent_id": AGENT, "pipeline_id": "bugfix", "filename": "SOUL.md", "tool_name": "bash"}
TASK = {
    "key": "A",
    "title": "One",
    "project_id": PROJECT,
    "task_id": "T1",
    "execution_prompt": "Do it",
}
BODIES: dict[str, Any] = {
    "PUT /v1/pipelines/<pipeline_id>": {
        "yaml_content": "id: bugfix\nname: x\nagents: []\nsteps: []"
    },
    "POST /v1/runs": {"pipeline_id": "bugfix", "task": "x"},
    "POST /v1/runs/<run_id>/fork": {},
}
BODIES |= {  # a proof that is none would be 401 from behind the door
    f"POST /v1/auth/{name}": {}
    for name in ("login", "login/2fa", "login/totp", "login/recovery", "refresh")
}
BODIES |= {  # what somebody may change of their own account
    f"PUT /v1/{name}/<user_id>": {"displayName": "Ada"} for name in ("users", "admin/users")
}
QUERIES: dict[str, dict[str, str]] = {"DELETE /v1/runs": {"status": "completed"}}
OTHERS = {  # another kind than usual
    "/v1/spawn-executor/<run_id>": {"run_id": "executor_id"},
    "/v1/admin/secrets/<secret_id>/grant-user/<user_id>": {
        "secret_id": "lent_id",
        "user_id": "borrower_id",
    },
}


def address(rule: str, made: Mapping[str, str]) -> str:
    """The path of a rule with what was made in place of its names."""
    other = OTHERS.get(rule, {})
    return re.sub(r"<(?:\w+:)?(\w+)>", lambda found: made[other.get(found[1], found[1])], rule)


def make(owner: FlaskClient, work: Callable[..., int]) -> dict[str, str]:
    """Make everything; gives the ids by the names that addresses have for them."""
    form = {"pipeline_id": "bugfix", "task": "x", "project_id": PROJECT}
    run = owner.post("/v1/runs", json=form).json["id"]
    work()
    session, call = Session.select().first(), LlmCall.select().first()
    asked = {"agent_id": "eric", "tasks": [TASK]}
    swarm = owner.post("/v1/swarm/execute", json=asked).json["swarm_id"]
    work()
    waiting = owner.post("/v1/runs", json=form).json["id"]
    work(1)
    item = Step.select().where(Step.run == waiting).get().id
    order = {"agent_id": AGENT, "execution_prompt": "x", "project_id": "p", "task_id": "T1"}
    executor = owner.post("/v1/spawn-executor/execute", json=order).json["run_id"]
    made = {
        "executor_id": executor,
        "run_id": run,
        "session_id": session.id,
        "call_id": call.id,
        "swarm_id": swarm,
    }
    named = {"item_id": item, "step_id": "FIX", "project_id": PROJECT, "task_id": "T1"}
    return {**SHIPPED, **made, **named, **_made(owner)}


def account(owner: FlaskClient) -> dict[str, str]:
    """What belongs to the owner's account."""
    links = {"slack_id": "U012AB3CD", "discord_id": "112233445566778899"}
    with db.connection_context():
        soon = now_ms() + 60_000
        told = {"user_id": "usr_owner", "expires_at": soon, "ends_at": soon}
        UserSession(id="ses_owner", **told).add()
        User.update(**links).where(User.id == "usr_owner").execute()
    return {"user_id": "usr_owner", "login_id": "ses_owner", "key_id": "ak_owner", **links}


def identity_provider(_: FlaskClient) -> dict[str, str]:
    """One that nobody need ask where it is asked for what."""
    form = {"name": "Outside", "slug": "outside", "issuer_url": "https://outside.example"}
    client = {"client_id": "djinnbot", "client_secret": "a client secret", "auto_discovery": False}
    places = ("authorization_endpoint", "token_endpoint", "jwks_uri")
    endpoints = {place: f"https://outside.example/{place}" for place in places}
    with db.connection_context():
        made = oidc.create(SERVICE, {**form, **client, **endpoints})
    return {"provider_id": made.id, "slug": made.slug}


def a_secret_and_cookies(owner: FlaskClient) -> dict[str, str]:
    """Those of the owner, which the agent was given, and a secret that the teammate was lent."""
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
MAKERS: list[Callable[[FlaskClient], Mapping[str, str]]] = [  # of the other nouns
    account,
    identity_provider,
    a_secret_and_cookies,
]


def _made(owner: FlaskClient) -> dict[str, str]:
    found: dict[str, str] = {}
    for maker in MAKERS:
        found |= maker(owner)
    return found


def _administration(_: FlaskClient) -> dict[str, str]:
    told, waits = Notification(title="x").add(), Waiting(email="ada@example.org").add()
    return {"notification_id": told.id, "entry_id": waits.id}


MAKERS.append(_administration)
