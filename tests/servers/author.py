"""A provider that tells a story: what it says depends on how far a conversation has come."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from tests.servers.provider import Answer, Provider, Received


class Author(Provider):
    """Answers the n-th turn of any conversation with the n-th line, however often it is asked.

    `hanging` are the turns (from 0) whose next answer never comes, once each; `hears` is told of
    every request before it is answered.
    """

    def __init__(self, *lines: Answer) -> None:
        super().__init__()
        self.lines = lines
        self.hanging: set[int] = set()
        self.asked = threading.Event()  # for a turn that hangs
        self.times: list[float] = []
        self.hears: Callable[[Received], None] = lambda received: None

    def reply_to(self, received: Received) -> Answer:
        self.requests.append(received)
        self.times.append(time.monotonic())
        self.hears(received)
        turn = turn_of(received)
        if turn in self.hanging:
            self.hanging.remove(turn)
            self.asked.set()
            return Answer(hang=-1, cut=0)
        return self.lines[turn]

    @property
    def turns(self) -> list[int]:
        """Which turns were asked for, in order."""
        return [turn_of(received) for received in self.requests]


def turn_of(received: Received) -> int:
    """How many answers the conversation holds already."""
    return sum(message["role"] == "assistant" for message in received.body["messages"])
