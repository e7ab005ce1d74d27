"""Streams and rights: members hear of their projects, and whoever may no more hears no more."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from flask import Flask
from flask.testing import FlaskClient

from models import events, streams
from models.accounts import ApiKey, User, UserSession
from models.base import db
from models.config import Settings
from models.principals import Principal
from models.projects import ProjectMember, outsiders
from models.runs import Run
from tests.conftest import PROJECT
from tests.processes.product import until
from tests.web.listening import kinds, listening, messages
from tests.web.people import Person
from web import items
from web.audience import Listener
from web.feed import Feed

Work = Callable[..., int]
OF_THE_PROJECT = {"pipeline_id": "bugfix", "task": "x", "project_id": PROJECT}


@pytest.fixture(autouse=True)
def quick(app: Flask) -> None:
    app.extensions["feed"].recheck_seconds = 0.1


@pytest.fixture
def ours(owner: FlaskClient) -> str:
    """A run of the project that the owner and the teammate share."""
    return owner.post("/v1/runs", json=OF_THE_PROJECT).json["id"]


def changed(model: type, condition: object, **columns: object) -> None:
    with db.connection_context():
        model.update(**columns).where(condition).execute()


def leave() -> None:
    with db.connection_context():
        ProjectMember.delete().where(ProjectMember.user == "usr_teammate").execute()


def test_a_member_hears_of_the_project_and_a_stranger_does_not(
    owner: FlaskClient, teammate: FlaskClient, stranger: FlaskClient, work: Work
):
    with (
        listening(teammate, "/v1/events/stream") as ours,
        listening(stranger, "/v1/events/stream") as theirs,
    ):
        next(ours), next(theirs)
        run = owner.post("/v1/runs", json=OF_THE_PROJECT).json["id"]
        owner.post("/v1/runs", json=OF_THE_PROJECT | {"project_id": None})
        own = stranger.post("/v1/runs", json=OF_THE_PROJECT | {"project_id": None}).json["id"]
        work()
        told = messages(ours, 10)
        assert {frame.data["runId"] for frame in told} == {run}
        assert kinds(told)[0] == "run_created"
        assert told[0].data["activeRuns"] in range(2)
        assert messages(theirs, 1)[0].data["runId"] == own


def test_a_member_hears_it_again_from_the_past(teammate: FlaskClient, ours: str, work: Work):
    work()
    with listening(teammate, "/v1/events/stream?since=0") as frames:
        assert messages(frames, 1)[0].data["runId"] == ours


@pytest.mark.parametrize(
    ("path", "first"),
    [("/v1/events/activity/yukihiro", 2), ("/v1/events/sessions", 0), ("/v1/events/events", 0)],
)
def test_a_member_hears_what_agents_do_in_the_project(
    owner: FlaskClient, teammate: FlaskClient, work: Work, path: str, first: int
):
    with listening(teammate, path) as frames:
        for _ in range(1 + first):
            next(frames)
        owner.post("/v1/runs", json=OF_THE_PROJECT)
        work()
        assert messages(frames, 1)[0].data["agentId"] == "yukihiro"


def test_who_joins_hears_of_the_project_without_connecting_anew(
    stranger: FlaskClient, owner: FlaskClient, ours: str, settings: Settings, app: Flask
):
    with listening(stranger, "/v1/events/stream") as frames:
        next(frames)
        with db.connection_context():
            ProjectMember(project_id=PROJECT, user_id="usr_stranger").add()
        (listener,) = app.extensions["feed"].audience.listeners()
        until(lambda: (items.PROJECT, PROJECT) in listener.stream.topics)
        told = events.loose("usr_owner", "agent_message", {"runId": ours}, PROJECT)
        streams.publish(settings.redis_url, [told])
        assert kinds(messages(frames, 1)) == ["agent_message"]


def test_who_leaves_the_project_hears_no_more_of_its_run(teammate: FlaskClient, ours: str):
    with listening(teammate, f"/v1/events/stream?run_id={ours}") as frames:
        messages(frames, 1)
        leave()
        assert messages(frames) == []


def test_who_leaves_hears_no_more_of_the_project(
    teammate: FlaskClient, ours: str, settings: Settings, app: Flask
):
    with listening(teammate, "/v1/events/stream") as frames:
        next(frames)
        (listener,) = app.extensions["feed"].audience.listeners()
        leave()
        until(lambda: (items.PROJECT, PROJECT) not in listener.stream.topics)
        mine = events.loose("usr_teammate", "agent_message", {"message": "mine"})
        theirs = events.loose("usr_owner", "agent_message", {"runId": ours}, PROJECT)
        streams.publish(settings.redis_url, [theirs, mine])
        assert messages(frames, 1)[0].data["message"] == "mine"


PATHS = ("/v1/events/stream", "/v1/events/stream?run_id={run}&follow=true")


@pytest.mark.parametrize("path", PATHS)
def test_a_stream_ends_with_its_login(app: Flask, run: str, path: str):
    ada = Person(app)
    ada.log_in()
    with listening(ada.http, path.format(run=run)) as frames:
        next(frames)
        ada.post("logout")
        assert len(list(frames)) < 9


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    ("model", "condition", "columns"),
    [
        (UserSession, UserSession.user == "usr_owner", {"expires_at": 1}),
        (User, User.id == "usr_owner", {"is_active": False}),
        (User, User.id == "usr_owner", {"is_admin": True}),  # it would not show everything
    ],
)
def test_a_stream_ends_when_its_caller_is_not_who_they_were(
    app: Flask, run: str, path: str, model: type, condition: object, columns: dict
):
    ada = Person(app)
    ada.log_in()
    with listening(ada.http, path.format(run=run)) as frames:
        next(frames)
        changed(model, condition, **columns)
        assert len(list(frames)) < 9


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("columns", [{"is_active": False}, {"expires_at": 1}])
def test_a_stream_ends_with_its_key(owner: FlaskClient, run: str, path: str, columns: dict):
    with listening(owner, path.format(run=run)) as frames:
        next(frames)
        changed(ApiKey, ApiKey.id == "ak_owner", **columns)
        assert len(list(frames)) < 9


class Stumbling(Feed):
    """A feed whose first look for rights breaks in a way that nobody expects."""

    stumbled = False

    def _dismiss_outsiders(self, listening: list[Listener]) -> None:
        if not self.stumbled:
            self.stumbled = True
            raise RuntimeError("never seen before")
        super()._dismiss_outsiders(listening)


def test_a_look_for_rights_that_breaks_is_not_the_last_one(
    app: Flask, owner: FlaskClient, run: str, settings: Settings
):
    app.extensions["feed"] = feed = Stumbling(settings.redis_url)
    feed.recheck_seconds = 0.1
    with listening(owner, PATHS[1].format(run=run)) as frames:
        next(frames)
        until(lambda: feed.stumbled)
        changed(ApiKey, ApiKey.id == "ak_owner", is_active=False)
        assert len(list(frames)) < 9


@pytest.mark.parametrize("path", PATHS)
def test_a_stream_of_somebody_whose_rights_stay_goes_on(
    app: Flask, engine: FlaskClient, owner: FlaskClient, run: str, path: str, settings: Settings
):
    for client in (owner, engine):
        with listening(client, path.format(run=run)) as frames:
            next(frames)
            let_somebody_go(app)
            told = events.loose("usr_owner", "agent_message", {"runId": run, "message": "still"})
            streams.publish(settings.redis_url, [told])
            while messages(frames, 1)[0].data.get("message") != "still":
                continue


def let_somebody_go(app: Flask) -> None:
    """Log somebody else out, and wait until everybody was looked at."""
    ada = Person(app, "teammate")
    ada.log_in()
    with listening(ada.http, "/v1/events/stream") as frames:
        next(frames)
        ada.post("logout")
        assert len(list(frames)) < 9


def test_who_looks_at_many_runs_is_asked_for_all_at_once(database: str, owner, ours: str):
    with db.connection_context():
        cast = [Principal(f"usr_{name}", "user") for name in ("owner", "teammate", "stranger")]
        looks = {(run, who.id) for run in (ours, "none") for who in cast}
        hidden = {
            (run, who.id)
            for run in (ours,)
            for who in cast
            if not Run.visible_to(who).where(Run.id == run).exists()
        }
        assert outsiders(Run, looks) == hidden == {(ours, "usr_stranger")}
