"""Who gets where: every route, asked by every kind of caller, against one table."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any

import jwt
import pytest
from flask import Flask
from flask.testing import FlaskClient

from models import base
from models.accounts import ApiKey, Challenge, User, UserSession, digest
from tests.conftest import AUTH_KEY
from tests.guards import things
from tests.guards.access import CALLERS, PAGES, bodies, rules, streams, table
from tests.servers.github import Github
from web import tokens

DOOR = {401, 403, 404}


def test_every_route_has_a_row_and_every_row_a_route(app: Flask):
    classes, routes = table()
    assert {f"{method} {rule}" for rule, method in rules(app)} - PAGES == set(routes)
    assert set(routes.values()) <= set(classes)
    assert all(len(met) == len(CALLERS) for met in classes.values())


@pytest.mark.timeout(300)
def test_everybody_meets_what_the_table_says(
    app: Flask, cast: dict[str, FlaskClient], work: Callable[..., int]
):
    classes, routes = table()
    examples = bodies(app)
    made = things.make(cast["owner"], work)
    wrong = []
    for rule, method in rules(app):
        route = f"{method} {rule.rule}"
        if route in PAGES:
            continue
        for caller, expected in zip(CALLERS, classes[routes[route]], strict=True):
            path = things.address(rule.rule, made)
            sent = {"query_string": things.QUERIES.get(route), **examples.get(route, {})}
            status = undone(cast[caller], method, path, streams(app, rule.endpoint), sent)
            broken = status >= 500 and status != 501  # 501: what this server does not do
            if broken or (str(status) if status in DOOR else "ok") != expected:
                wrong.append(f"{route} by {caller}: {status}, not {expected}")
    assert not wrong, "\n".join(wrong)


def undone(client: FlaskClient, method: str, path: str, streams: bool, sent: dict[str, Any]) -> int:
    """The status of a request whose every trace is taken back."""
    with base.db.connection_context(), base.db.atomic() as trial:
        answer = client.open(path, method="HEAD" if streams else method, **sent)
        answer.close()
        trial.rollback()
    return int(answer.status_code)


def test_no_token_that_is_not_good_opens_a_door(
    app: Flask, github: Github, as_caller: Callable[[str | None], FlaskClient]
):
    """Junk, an expired login, one that waits for its code, a disabled person's login and key."""
    classes, routes = table()
    bad = [as_caller(token) for token in ("x", "a.b.c", *worthless(app))]
    for rule, method in rules(app):
        met = classes.get(routes.get(f"{method} {rule}", ""), [])
        if met[-1:] == ["401"]:
            path = things.address(rule.rule, defaultdict(lambda: "none", things.SHIPPED))
            told = {client.open(path, method=method).status_code for client in bad}
            assert told == {401}, f"{method} {rule}: {told}"


def worthless(app: Flask) -> list[str]:
    """Tokens that we have signed or made ourselves and that are good for nothing."""
    soon = base.now_ms() + 60_000
    gone = {"id": "usr_gone", "email": "gone@cast.example", "is_active": False}
    with app.app_context(), base.db.connection_context():
        User(**gone).add()
        for who in ("usr_gone", "usr_owner"):
            UserSession(id=f"ses_{who}", user_id=who, expires_at=soon, ends_at=soon).add()
        ApiKey(user_id="usr_gone", name="x", key_prefix="djb_", key_hash=digest("djb_gone")).add()
        person, disabled = User.get_by_id("usr_owner"), User.get_by_id("usr_gone")
        told = jwt.decode(
            tokens.access_token(person, "ses_usr_owner"), AUTH_KEY, ["HS256"], audience="djinnbot"
        )
        return [
            jwt.encode(told | {"exp": 1}, AUTH_KEY, "HS256"),
            tokens.pending_token(Challenge(user_id="usr_owner", expires_at=soon)),
            tokens.access_token(disabled, "ses_usr_gone"),
            "djb_gone",
        ]


def test_an_agents_key_opens_no_door_of_another_agents(
    app: Flask, cast: dict[str, FlaskClient], work: Callable[..., int]
):
    made = things.make(cast["owner"], work) | {"agent_id": "finn"}
    for rule, method in rules(app):
        if "agent_id" in rule.arguments:
            path = things.address(rule.rule, made)
            assert undone(cast["agent"], method, path, False, {}) == 403, f"{method} {rule}"


def test_a_stranger_reads_the_same_as_a_typo(
    app: Flask, cast: dict[str, FlaskClient], work: Callable[..., int]
):
    classes, routes = table()
    examples = bodies(app)
    made = things.make(cast["owner"], work)
    for rule, method in rules(app):
        route = f"{method} {rule.rule}"
        met = classes.get(routes.get(route, ""), [])
        if not rule.arguments or met[2:3] != ["404"]:
            continue
        answers = []
        for values in (made, dict.fromkeys(made, "none") | things.SHIPPED):
            path = things.address(rule.rule, values)
            sent = {"query_string": things.QUERIES.get(route), **examples.get(route, {})}
            with base.db.connection_context(), base.db.atomic() as trial:
                told = cast["stranger"].open(path, method=method, **sent)
                trial.rollback()
            assert told.status_code == 404, f"{route}: {told.status_code}"
            answers.append(_without(told.json["detail"], values))
        assert answers[0] == answers[1], route


def _without(text: str, values: dict[str, str]) -> str:
    for value in sorted(set(values.values()), key=len, reverse=True):
        text = text.replace(value, "none")
    return text
