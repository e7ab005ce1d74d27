"""A connection that is cut again and again tells every event once, in order, all the same."""

from __future__ import annotations

import json
import random
import threading
from dataclasses import dataclass, field
from typing import Any

import pytest
import redis
from flask import Flask
from flask.testing import FlaskClient
from hypothesis import given
from hypothesis import strategies as st

from models import events, streams
from models.base import db
from models.config import Settings
from models.principals import Principal
from models.runs import Run
from tests.conftest import run_sql
from tests.web.listening import happen
from web import create_app
from web.feed import Feed
from web.items import Item
from web.positions import Entry, RunPosition
from web.stream import RunStream

CUTS = 1_000
EVENTS = 1_500
MOST = 500  # bytes between two cuts: one or two frames
STRIDE = 5  # events in one transaction
ADMIN = Principal("usr_admin", "user", is_admin=True)
HANG_UP = """
    SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid()"""


@dataclass
class Reader:
    """Reads frames from bytes that may stop anywhere; an unfinished frame never happened."""

    ids: list[str] = field(default_factory=list)
    seqs: list[int] = field(default_factory=list)
    text: list[int] = field(default_factory=list)
    rest: bytes = b""

    def read(self, piece: bytes) -> None:
        *whole, self.rest = (self.rest + piece).split(b"\n\n")
        for block in whole:
            lines = dict(line.partition(": ")[::2] for line in block.decode().split("\n"))
            if "id" not in lines:
                continue
            self.ids.append(lines["id"])
            told = json.loads(lines["data"])
            if told["type"] == "agent_output":
                self.text.append(int(told["chunk"]))
            else:
                self.seqs.append(int(lines["id"]))

    def cut(self) -> str:
        """Forget what was not whole; gives where to go on."""
        self.rest = b""
        return self.ids[-1] if self.ids else "0"


def read_some(client: FlaskClient, run: str, reader: Reader, most: int) -> bool:
    """Resume, read at most so many bytes, and cut; whether that was before the end."""
    headers = {"Last-Event-ID": reader.cut()}
    path = f"/v1/events/stream?run_id={run}&follow=true"
    answer = client.get(path, headers=headers, buffered=False)
    chunks = answer.iter_encoded()
    while most > 0 and reader.seqs[-1:] != [EVENTS]:
        piece = next(chunks)[:most]
        most -= len(piece)
        reader.read(piece)
    answer.close()
    return reader.seqs[-1:] != [EVENTS]


def another_process(settings: Settings) -> FlaskClient:
    """A second web process: an application that shares nothing with the first."""
    client = create_app(settings).test_client()
    client.environ_base["HTTP_AUTHORIZATION"] = "Bearer djb_owner"
    return client


def told(run: str, number: int) -> list[dict[str, Any]]:
    """An event as the relay publishes it, and a piece of text after it."""
    message = {"runId": run, "message": str(number)}
    text = {"runId": run, "stepId": "FIX", "chunk": str(number)}
    event = events.loose("usr_owner", "agent_message", message) | {"seq": number}
    return [event, events.loose("usr_owner", "agent_output", text)]


def tell_all(run: str, settings: Settings, done: threading.Event) -> None:
    """Record events and, like the relay, publish most of them, with text in between."""
    dice = random.Random(5)
    try:
        for first in range(2, EVENTS + 1, STRIDE):
            numbers = range(first, min(first + STRIDE, EVENTS + 1))
            happen(run, *map(str, numbers))
            bodies = [body for number in numbers for body in told(run, number)]
            if dice.random() < 0.9:  # else the stream lost it
                streams.publish(settings.redis_url or "", bodies)
    finally:
        db.close()
        done.set()


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_thousand_cuts_lose_nothing_and_tell_nothing_twice(
    app: Flask, owner: FlaskClient, run: str, settings: Settings
):
    app.extensions["feed"].recheck_seconds = 0.2
    other = another_process(settings)
    other.application.extensions["feed"].recheck_seconds = 0.2
    dice, reader, done = random.Random(11), Reader(), threading.Event()
    telling = threading.Thread(target=tell_all, args=(run, settings, done))
    telling.start()
    cuts = 0
    while read_some(dice.choice((owner, other)), run, reader, dice.randrange(1, MOST)):
        cuts += 1
        if cuts in (CUTS * 3 // 10, CUTS * 7 // 10):
            with redis.Redis.from_url(settings.redis_url) as client:
                client.flushdb()
    telling.join()
    assert cuts >= CUTS
    assert reader.seqs == list(range(1, EVENTS + 1))
    assert len(set(reader.text)) == len(reader.text)
    assert reader.text == sorted(reader.text)


class Deadly(Item):
    """A piece of text; while a stream makes its frame, Postgres hangs up on everybody."""

    url = ""

    @property
    def rendered(self) -> dict[Any, bytes]:
        run_sql(self.url, HANG_UP)
        return self.__dict__.setdefault("frames", {})

    @rendered.setter
    def rendered(self, value: object) -> None:
        pass


class Redis(Feed):
    """A feed that holds an event, and text of which Postgres dies."""

    def holds(self, entry: Entry) -> bool:
        return True

    def since(self, entry: Entry, limit: int, about: str | None = None) -> list[Item]:
        event, text = told(str(about), 2)
        return [Item((2, 0), event), Deadly((3, 0), text)]


def test_what_was_fetched_before_postgres_went_away_is_told(
    owner: FlaskClient, run: str, settings: Settings, database: str
):
    happen(run, "2", "3")
    Deadly.url = database
    start = RunPosition(1, (1, 0))
    stream = RunStream(Redis(settings.redis_url), ADMIN, Run.get_by_id(run), start)
    reader = Reader()
    db.close()
    reader.read(stream.catch_up())
    assert stream.unsure
    assert reader.seqs == [2, 3]
    reader.read(stream.catch_up())
    assert not stream.unsure
    assert reader.seqs == [2, 3]


@given(st.lists(st.integers(1, 40), max_size=30), st.lists(st.text(max_size=5), max_size=20))
def test_frames_cut_anywhere_are_read_as_if_whole(cuts: list[int], texts: list[str]):
    from web import frames

    told = [{"type": "agent_message", "message": text} for text in texts]
    stream = b"".join(frames.frame(one, str(place + 1)) for place, one in enumerate(told))
    reader = Reader()
    for cut in [*cuts, len(stream)]:
        reader.read(stream[:cut])
        stream = stream[cut:]
    assert reader.seqs == list(range(1, len(texts) + 1))
