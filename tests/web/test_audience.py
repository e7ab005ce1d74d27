"""Those who listen to one process, and the few threads that fetch for who is behind."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Collection, Iterator

import pytest

from models import events
from models.principals import Principal
from tests.processes.product import until
from web.audience import CATCHERS, Audience, Listener
from web.items import GAP, RUN, Item, Topic, shown


class Missing:
    """A stream that lacks one thing, which has to be fetched."""

    def __init__(self, fetch: Callable[[], bytes]) -> None:
        self.fetch = fetch
        self.topic: str | None = "run_1"
        self.topics: Collection[Topic] = ((RUN, "run_1"),)
        self.principal = Principal("usr_owner", "user")
        self.seq = 0
        self.behind = True
        self.over = self.unsure = False

    def deliver(self, item: Item) -> bytes:
        return b""

    def place(self) -> None:
        return None

    def catch_up(self) -> bytes:
        self.behind = False
        return self.fetch()

    def catch_up_like(self, other: Missing) -> None:
        raise AssertionError("nobody shares its place")


class Everything(Missing):
    """A stream of everything that remembers what it was offered."""

    def __init__(self, principal: Principal, *projects: str) -> None:
        super().__init__(lambda: b"")
        self.topic = None
        self.topics = shown(principal, projects)
        self.offered: list[Item] = []

    def deliver(self, item: Item) -> bytes:
        self.offered.append(item)
        return b""


@pytest.fixture
def audience() -> Iterator[Audience]:
    made = Audience()
    yield made
    made.dismiss(made.listeners())


def client(audience: Audience, fetch: Callable[[], bytes]) -> socket.socket:
    ours, theirs = socket.socketpair()
    audience.join(Listener(Missing(fetch), ours.detach()), b"")
    theirs.settimeout(20)
    return theirs


def test_who_waits_for_a_catcher_is_served_though_all_of_them_came_to_grief(audience: Audience):
    crowded = threading.Event()

    def fail() -> bytes:
        crowded.wait()
        raise RuntimeError("never seen before")

    unlucky = [client(audience, fail) for _ in range(CATCHERS)]
    waiting = client(audience, lambda: b"here you are")
    crowded.set()
    assert waiting.recv(100) == b"here you are"
    assert [each.recv(1) for each in unlucky] == [b""] * CATCHERS
    for each in (waiting, *unlucky):
        each.close()


def test_what_somebody_may_not_see_is_not_even_offered_to_their_streams(audience: Audience):
    anna, ben = Principal("usr_anna", "user"), Principal("usr_ben", "user")
    admin = Principal("usr_admin", "user", is_admin=True)
    told = Item((1, 0), events.loose("usr_anna", "said", {"runId": "run_1"}, "proj_1"))
    everybody = (
        Everything(anna, "proj_1"),
        Everything(ben, "proj_1"),
        Everything(ben, "proj_2"),
        Everything(admin),
    )
    ends = [socket.socketpair() for _ in everybody]
    for stream, (ours, _) in zip(everybody, ends, strict=True):
        audience.join(Listener(stream, ours.detach()), b"")
    audience.hand_out([told, GAP])
    until(lambda: all(stream.offered[-1:] == [GAP] for stream in everybody))
    assert [len(stream.offered) for stream in everybody] == [2, 2, 1, 2]
    for _, theirs in ends:
        theirs.close()
