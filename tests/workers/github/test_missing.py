"""GitHub sends nothing again by itself: what was missed while we were down is asked for."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from wsgiref.simple_server import WSGIRequestHandler, make_server

import pytest
from flask import Flask

from models import base
from models.assignments import Assignment
from models.outbox import Outbox
from models.runs import Run
from models.webhooks import DeliverySweep, MissedDelivery, WebhookEvent
from tasks import webhooks as commands
from tests.conftest import PROJECT
from tests.servers import github_events as told
from tests.servers.github import Github
from tests.workers.jobs.telling import connection
from workers.github import missing
from workers.jobs import github as jobs

DAY = 86_400


class Quiet(WSGIRequestHandler):
    def log_message(self, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def served(app: Flask, github: Github) -> Iterator[Callable[[], None]]:
    """Until it is called, nobody listens where GitHub delivers."""
    server = make_server("127.0.0.1", 0, app, handler_class=Quiet)
    address = f"http://127.0.0.1:{server.server_port}/v1/github/webhooks"
    github.hook_url = "http://127.0.0.1:1/v1/github/webhooks"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)

    def up() -> None:
        github.hook_url = address
        thread.start()

    yield up
    if thread.is_alive():
        server.shutdown()
    server.server_close()


@pytest.fixture
def look(database: str) -> Iterator[Callable[[], int]]:
    with base.db.connection_context():
        yield missing.catch_up


def kept() -> set[str]:
    return {event.delivery_id for event in WebhookEvent.select()}


@pytest.mark.slow
def test_what_came_while_we_were_down_arrives_afterwards_once(
    github: Github, served: Callable[[], None], look: Callable[[], int], work: Callable[..., int]
):
    connection(PROJECT)
    Assignment(project=PROJECT, agent_id="eric", event_type="issues", auto_respond=True).add()
    guids = [f"down-{number}" for number in range(7)]  # three pages of GitHub's list
    for guid in guids:
        assert github.deliver("issues", told.issues("labeled", added="bug"), guid) == 0
    served()
    assert github.deliver("issues", told.issues("labeled", added="bug"), "up") == 200
    assert look() == 7
    assert kept() == {*guids, "up"}
    assert look() == 0
    work(20)
    assert Run.select().count() == 8


def test_one_that_fails_again_is_asked_for_again_later_and_not_for_ever(
    github: Github, served: Callable[[], None], look: Callable[[], int]
):
    github.deliver("issues", told.issues(), "d-1")
    assert look() == 1
    miss = MissedDelivery.get()
    assert miss.tries == 1
    assert miss.due_at > base.now_ms() + missing.WAIT_MS - 60_000
    assert look() == 0  # not yet
    MissedDelivery.update(due_at=0).execute()
    assert look() == 1
    MissedDelivery.update(due_at=0, failed_at=base.now_ms() - missing.LISTED_MS - 1).execute()
    assert look() == 0
    assert MissedDelivery.select().count() == 0


def test_the_latest_try_is_the_one_that_is_repeated_and_the_first_failure_counts(
    github: Github, served: Callable[[], None], look: Callable[[], int]
):
    github.deliver("issues", told.issues(), "d-1", ago=DAY)
    look()
    first = MissedDelivery.get()
    look()
    again = MissedDelivery.get()
    assert again.delivery > first.delivery
    assert again.failed_at == first.failed_at


def test_what_is_too_old_too_large_or_there_already_is_not_asked_for(
    github: Github, served: Callable[[], None], look: Callable[[], int]
):
    github.deliver("issues", told.issues(), "old", ago=4 * DAY)
    github.deliver("issues", told.issues(), "huge")
    github.deliveries[0]["status_code"] = 413
    github.deliver("issues", told.issues(), "answered too late")
    WebhookEvent(delivery_id="answered too late", event_type="issues", payload={}).add()
    served()
    assert look() == 0
    assert kept() == {"answered too late"}


def test_the_list_is_read_only_as_far_as_is_new(
    github: Github, served: Callable[[], None], look: Callable[[], int]
):
    served()
    for number in range(9):
        github.deliver("ping", told.ping(), f"d-{number}", ago=(9 - number) * 3600)
    look()
    github.deliver("ping", told.ping(), "new")
    github.asked.clear()
    look()
    assert github.asked == ["GET /app/hook/deliveries"]
    assert DeliverySweep.select().count() == 1


def test_a_look_that_dies_reads_the_same_again(
    github: Github, served: Callable[[], None], look: Callable[[], int]
):
    github.deliver("issues", told.issues(), "d-1")
    github.failing = 500
    with pytest.raises(Exception, match="500"):
        look()
    assert DeliverySweep.select().count() == 0
    github.failing = None
    served()
    assert look() == 1
    assert kept() == {"d-1"}


def test_the_clock_asks_once_in_a_slot_and_without_an_app_nobody_is_asked(
    database: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(commands, "now_ms", lambda: 900_000)
    with base.db.connection_context():
        commands.ask_for_missed()
        commands.ask_for_missed()
        (row,) = Outbox.select()
        assert json.loads(json.dumps(row.body["args"])) == [3]
        jobs.catch_up(3)
