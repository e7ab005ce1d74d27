"""A marked secret is put wherever one is taken, and is found nowhere afterwards.

Data-driven: what the API takes is read from its own document, what may show a secret again stands
in secrets.txt, and one of everything with an id is made by tests.guards.things.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from models import base
from models.config import Settings
from tests.guards import canaries, things
from tests.guards.access import CALLERS, bodies, rules, streams
from tests.guards.canaries import Flock, Place, Upload
from tests.guards.things import administration
from workers.broker import broker_url

PAGES = {"/docs", "/docs/<name>"}
Work = Callable[..., int]


class Known(dict[str, str]):
    """Ids by their names in addresses; what nobody made is called `none`."""

    def __missing__(self, _: str) -> str:
        return "none"


class Watch:
    """Asks like everybody, reads every answer, and complains of what should not be in it."""

    def __init__(self, app: Flask, cast: dict[str, FlaskClient], made: dict[str, str]) -> None:
        self.app, self.cast, self.made = app, cast, Known(made)
        self.examples = bodies(app)
        self.shows = canaries.table()["shows"]
        self.flock = Flock()
        self.complaints: list[str] = []

    def ask(self, caller: str, method: str, rule: str, **sent: Any) -> Any:
        """One request; what its answer issues is kept in mind, once it has been read."""
        route = f"{method} {rule}"
        path = things.address(rule, self.made)
        answer = self.cast[caller].open(path, method=method, **sent)
        told = f"{answer.status} {answer.headers} {answer.get_data(as_text=True)}"
        if caller not in self.shows.get(route, []):
            self.look(f"{route} by {caller} ({answer.status_code})", told)
        if answer.is_json and answer.data:
            self.flock.issue(answer.json, route)
        return answer

    def plant(self, place: Place) -> None:
        """Put a secret there as it should be put, as anybody, and then as it should not."""
        canary = self.flock.new(str(place))
        example = self.examples.get(f"{place.method} {place.rule}", {}).get("json", {})
        method = "HEAD" if streams(self.app, self.endpoint(place)) else place.method
        proper, *others = canaries.requests(place, example, canary)
        for caller in ("owner", "admin", "none"):
            self.ask(caller, method, place.rule, **opened(proper))
        for sent in others:
            self.ask("admin", method, place.rule, **opened(sent))

    def endpoint(self, place: Place) -> str:
        return next(
            str(rule.endpoint)
            for rule, method in rules(self.app)
            if (method, rule.rule) == (place.method, place.rule)
        )

    def read_everything(self) -> None:
        """Every route that only reads, as every kind of caller."""
        for rule, method in rules(self.app):
            if method != "GET" or rule.rule in PAGES or streams(self.app, rule.endpoint):
                continue
            for caller in CALLERS:
                query = things.QUERIES.get(f"GET {rule.rule}")
                self.ask(caller, "GET", rule.rule, query_string=query)

    def look(self, where: str, text: str) -> None:
        self.complaints += [f"{what} was found in {where}" for what in self.flock.found_in(text)]

    def search(self, settings: Settings, words: str) -> None:
        """Look through all that is kept anywhere, and all that was said."""
        self.look("what was logged", words)
        redis = settings.redis_url or ""
        for texts in (
            canaries.texts_of_database(),
            canaries.texts_of_redis([redis, broker_url(redis)]),
            canaries.texts_of_files(settings.data),
        ):
            for where, text in texts:
                self.look(where, text)


def opened(sent: dict[str, Any]) -> dict[str, Any]:
    """The request with its files opened."""
    data = sent.get("data")
    if not isinstance(data, dict):
        return sent
    files = {name: value.opened() for name, value in data.items() if isinstance(value, Upload)}
    return {**sent, "data": data | files}


def test_whatever_sounds_like_a_secret_is_listed(app: Flask):
    document = app.test_client().get("/openapi.json").json
    table = canaries.table()
    listed = table["secret"].keys() | table["plain"].keys()
    new = {str(place) for place in canaries.places(document) if place.field not in listed}
    assert not new, f"Say in {canaries.TABLE.name} whether these take secrets"


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_no_secret_is_ever_seen_again(
    app: Flask,
    cast: dict[str, FlaskClient],
    work: Work,
    settings: Settings,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
):
    caplog.set_level(logging.DEBUG)
    watch = Watch(app, cast, things.make(cast["owner"], work))
    document = app.test_client().get("/openapi.json").json
    taking = canaries.table()["secret"]
    planted = [place for place in canaries.places(document) if place.field in taking]
    for place in planted:
        watch.plant(place)
    log_in(watch)
    with base.db.connection_context():
        watch.search(settings, "")  # what is still asked for stands in the outbox
    watch.ask("owner", "POST", "/v1/runs", json=things.BODIES["POST /v1/runs"])
    work()
    watch.read_everything()
    said = capfd.readouterr()
    with base.db.connection_context():
        watch.search(settings, said.out + said.err + caplog.text)
    assert planted
    assert not watch.complaints, "\n".join(sorted(set(watch.complaints)))


def log_in(watch: Watch) -> None:
    """Walk through a login with all that it issues, where there is one."""
    known = {rule.rule for rule, _ in rules(watch.app)}
    if "/v1/auth/login" not in known:
        return
    form = {"email": "canary@cast.example", "password": watch.flock.new("a password")}
    watch.ask("admin", "POST", "/v1/users", json=form)
    tokens = watch.ask("none", "POST", "/v1/auth/login", json=form).json
    watch.cast["canary"] = watch.app.test_client()
    watch.cast["canary"].environ_base["HTTP_AUTHORIZATION"] = f"Bearer {tokens['accessToken']}"
    watch.ask("canary", "POST", "/v1/auth/api-keys", json={"name": "canary"})
    watch.ask("admin", "POST", "/v1/auth/api-keys/agent", json={"agentId": "finn"})
    watch.ask("canary", "POST", "/v1/auth/2fa/enable")
    body = {"refreshToken": tokens["refreshToken"]}
    watch.ask("none", "POST", "/v1/auth/refresh", json=body)


def test_the_search_itself_finds_what_is_there(app: Flask, settings: Settings):
    flock = Flock()
    canary = flock.new("a test")
    for hidden in (*canaries.spellings(canary), f"x{canary}y"):
        assert flock.found_in(f"...{hidden}...") == ["a test"]
    assert flock.found_in("nothing") == []
    with base.db.connection_context(), base.db.atomic() as trial:
        administration.make(app.test_client(), lambda: 0)
        base.db.execute_sql("UPDATE admin_notifications SET title = %s", (canary,))
        places = [where for where, text in canaries.texts_of_database() if flock.found_in(text)]
        trial.rollback()
    assert places == ["table admin_notifications"]
