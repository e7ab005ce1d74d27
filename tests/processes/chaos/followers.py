"""Clients that follow runs, are cut off at any byte, go on elsewhere and check every number."""

from __future__ import annotations

import http.client
import json
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from tests.processes.chaos.library import SWARM
from tests.processes.chaos.load import OVER, Asked

SILENCE = 40.0  # seconds without a byte (heartbeats come every 15) after which to connect anew
PIECE = 4096
BUDGETS = (60_000, 400)  # bytes after which a client hangs up, on average; when it is nervous


@dataclass
class Seen:
    """What one client has been told of one run, or swarm, whose frames have no numbers."""

    asked: Asked
    last: int = 0
    position: str = ""  # the id to resume after
    resumed: str = ""  # what the connection began after
    heard: bool = False  # whether the connection has said anything
    ended: bool = False
    gaps: list[str] = field(default_factory=list)
    doubles: list[str] = field(default_factory=list)

    @property
    def path(self) -> str:
        """Where to listen."""
        if self.asked.kind == SWARM:
            return f"/v1/swarm/{self.asked.id}/stream"
        return f"/v1/events/stream?run_id={self.asked.id}"

    def take(self, number: str) -> None:
        """A frame with this id: `7` is the seventh event, `7.<entry>` a word between events."""
        self.position = number
        if "." in number:
            return
        expected = self.last + 1
        if int(number) > expected:
            since = f"on a connection resumed after {self.resumed or 'nothing'}"
            self.gaps.append(
                f"{self.asked.id}: {number} came after {self.last}, {since}, at {time.time():.1f}"
            )
        elif int(number) < expected:
            self.doubles.append(f"{self.asked.id}: {number} came after {self.last}")
        self.last = max(self.last, int(number))


class Followers:
    """So many clients, each following one run after the other; a context manager."""

    def __init__(
        self, seed: int, clients: int, next_run: Callable[[], Asked], urls: Callable[[], list[str]]
    ) -> None:
        self.next_run = next_run  # raises IndexError while there is none
        self.urls = urls
        self.seen: list[Seen] = []
        self.cuts = 0
        self.nervous_until = 0.0  # until then, cut off after few bytes
        self._leaving = threading.Event()
        self._connections: set[http.client.HTTPConnection] = set()
        self._threads = [
            threading.Thread(
                target=self._follow_all, args=(random.Random(f"{seed} {n}"),), name="follower"
            )
            for n in range(clients)
        ]

    def __enter__(self) -> Followers:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.leave()

    def leave(self) -> None:
        """Hang up, all of them."""
        self._leaving.set()
        for connection in list(self._connections):
            if connection.sock is not None:
                with suppress(OSError):
                    connection.sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()

    @property
    def following(self) -> list[Seen]:
        """Those whose stream has not come to its end."""
        return [seen for seen in self.seen if not seen.ended]

    def _follow_all(self, dice: random.Random) -> None:
        while not self._leaving.is_set():
            try:
                seen = Seen(self.next_run())
            except IndexError:
                self._leaving.wait(0.2)
                continue
            self.seen.append(seen)
            while not (seen.ended or self._leaving.is_set()):
                self._follow(seen, dice)

    def _follow(self, seen: Seen, dice: random.Random) -> None:
        """One connection, until it ends or is cut."""
        urls = self.urls()
        if not urls:
            self._leaving.wait(0.2)
            return
        seen.heard = False
        connection = http.client.HTTPConnection(urlsplit(dice.choice(urls)).netloc, timeout=SILENCE)
        self._connections.add(connection)
        try:
            for number, kind, data in frames_of(self._bytes(connection, seen, dice)):
                if number and seen.asked.kind != SWARM:
                    seen.take(number)
                over = kind == "state" and data["status"] in OVER
                seen.ended = seen.ended or over or kind == "end"
        except (OSError, http.client.HTTPException):
            self._leaving.wait(0.1)
        finally:
            self._connections.discard(connection)
            connection.close()
        self.cuts += seen.heard and not seen.ended

    def _bytes(
        self, connection: http.client.HTTPConnection, seen: Seen, dice: random.Random
    ) -> Iterator[bytes]:
        """What arrives until the budget is used up, to the byte; it may be cut meanwhile."""
        headers = {"Last-Event-ID": seen.position} if seen.position else {}
        seen.resumed = seen.position
        budget, short = (int(dice.expovariate(1 / usual)) + 1 for usual in BUDGETS)
        connection.request("GET", seen.path, headers=headers)
        answer = connection.getresponse()
        if answer.status != 200:
            self._leaving.wait(0.2)
            return
        while budget > 0 and not self._leaving.is_set():
            piece = answer.read1(min(PIECE, budget))
            if not piece:
                return
            seen.heard = True
            if time.monotonic() < self.nervous_until:
                budget = min(budget, short)
            piece = piece[:budget]
            budget -= len(piece)
            yield piece


def frames_of(pieces: Iterator[bytes]) -> Iterator[tuple[str, str, Any]]:
    """The (id, event, data) of every whole frame; half of one at the end was never received."""
    rest = b""
    for piece in pieces:
        rest += piece
        while b"\n\n" in rest:
            frame, _, rest = rest.partition(b"\n\n")
            fields = dict(_fields(frame.decode()))
            if "data" in fields:
                data = json.loads(fields["data"])  # whole, or it raises
                yield fields.get("id", ""), fields.get("event", "message"), data


def _fields(frame: str) -> Iterator[tuple[str, str]]:
    for line in frame.split("\n"):
        name, _, value = line.partition(":")
        if name:
            yield name, value.removeprefix(" ")
