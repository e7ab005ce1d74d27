"""Those who listen to one process, and the few threads that fetch for who is behind."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from models.principals import Principal
from web.audience import CATCHERS, Audience, Listener
from web.items import Item


class Missing:
    """A stream that lacks one thing, which has to be fetched."""

    def __init__(self, fetch: Callable[[], bytes]) -> None:
        self.fetch = fetch
        self.topic: str | None = "run_1"
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
