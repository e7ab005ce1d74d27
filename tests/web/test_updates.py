"""What runs here, and whether there is something newer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask.testing import FlaskClient

from models import config, releases
from models.audit import Entry
from models.base import now_ms
from models.releases import Release
from tasks import updates
from tests.servers.outside import Answer, Outside, Received
from web import create_app

Work = Callable[..., int]
LISTING = [{"tag_name": "v1.4.0", "html_url": "https://releases.example/v1.4.0", "name": "Four"}]


class Releases:
    """What the place that knows releases answers."""

    def __init__(self) -> None:
        self.answer = Answer(LISTING)

    def __call__(self, _: Received) -> Answer:
        return self.answer


@pytest.fixture
def told() -> Releases:
    return Releases()


@pytest.fixture
def source(told: Releases, settings: object, monkeypatch: pytest.MonkeyPatch) -> Iterator[Outside]:
    """A place that knows releases, named in the settings."""
    with Outside(told) as server:
        monkeypatch.setenv("UPDATES_URL", f"{server.url}/releases")
        monkeypatch.setenv("ALLOW_PRIVATE_NETWORKS", "true")
        monkeypatch.setenv("DJINNBOT_BUILD_VERSION", "v1.3.2")
        config.settings.cache_clear()
        yield server
    monkeypatch.undo()
    config.settings.cache_clear()


@pytest.fixture
def client(source: Outside, owner: FlaskClient) -> FlaskClient:
    """The owner's client of a server that asks for releases."""
    made = create_app(config.settings()).test_client()
    made.environ_base["HTTP_AUTHORIZATION"] = "Bearer djb_owner"
    return made


def test_nobody_is_asked_unless_the_operator_says_so(owner: FlaskClient, work: Work):
    known = owner.get("/v1/updates/check").json
    assert (known["current_version"], known["latest_version"]) == ("dev", None)
    assert (known["update_available"], known["checked_at"]) == (False, None)
    owner.post("/v1/updates/check")
    updates.ask()
    assert work() == 0


def test_a_newer_release_is_found_in_the_background(
    client: FlaskClient, source: Outside, work: Work
):
    before = client.post("/v1/system/updates/check").json
    assert (before["latest_version"], source.requests) == (None, [])  # it waits for nobody
    assert work() == 1
    known = client.get("/v1/updates/check").json
    assert (known["latest_version"], known["update_available"]) == ("v1.4.0", True)
    assert known["release_url"] == "https://releases.example/v1.4.0"
    assert client.get("/v1/system/updates/check").json == known


def test_many_who_ask_make_one_question(client: FlaskClient, source: Outside, work: Work):
    for _ in range(5):
        client.post("/v1/updates/check")
    work()
    client.post("/v1/updates/check")
    work()
    assert len(source.requests) == 1
    Release.update(checked_at=now_ms() - releases.FRESH_MS - 1).execute()
    client.post("/v1/updates/check")
    work()
    assert len(source.requests) == 2


@pytest.mark.parametrize(
    "answer", [Answer(b"<html>", 200), Answer({}, 500), Answer({}), Answer([])]
)
def test_a_check_that_fails_is_no_error(
    client: FlaskClient, told: Releases, work: Work, answer: Answer
):
    told.answer = answer
    client.post("/v1/updates/check")
    work()
    known = client.get("/v1/updates/check").json
    assert (known["latest_version"], known["update_available"]) == (None, False)
    assert known["checked_at"] is not None


def test_what_was_known_stays_known_when_nobody_answers(
    client: FlaskClient, told: Releases, work: Work
):
    client.post("/v1/updates/check")
    work()
    told.answer = Answer({}, 503)
    Release.update(checked_at=1).execute()
    client.post("/v1/updates/check")
    work()
    known = client.get("/v1/updates/check").json
    assert known["latest_version"] == "v1.4.0"
    assert known["checked_at"] > 1


def test_what_runs_here_is_told(owner: FlaskClient):
    version = owner.get("/v1/updates/version").json
    built = {"commit": None, "built_at": None}
    assert version == {"version": "dev", "engine_version": "dev", "build": built, "api": "v1"}


def test_an_update_is_the_deployments_to_make(admin: FlaskClient, owner: FlaskClient):
    def apply(**body: Any) -> tuple[int, str]:
        answer = admin.post("/v1/system/updates/apply", json=body)
        return answer.status_code, answer.json["detail"]

    assert apply()[0] == 400
    status, detail = apply(target_version="v1.4.0")
    assert status == 501
    assert "install v1.4.0" in detail
    releases.note({"version": "v1.5.0"})
    assert "v1.5.0" in apply()[1]
    assert apply(target_version="1.4.0; rm -rf /")[0] == 422
    assert [(row.action, row.subject) for row in Entry.select().order_by(Entry.seq)] == [
        ("update.requested", "v1.4.0"),
        ("update.requested", "v1.5.0"),
    ]
    assert owner.post("/v1/updates/apply", json={}).status_code == 403
