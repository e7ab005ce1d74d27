"""What a fault may lay its hands on."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

import psycopg2

from tests.processes.chaos.callers import caller_and_ancestor
from tests.processes.chaos.fleet import Member
from tests.processes.chaos.followers import Followers
from tests.processes.chaos.load import Load
from tests.processes.chaos.stage import Outages, Stage, settled
from tests.processes.chaos.watching import Watch


class Missed(str):
    """What a fault tells that did not strike."""


class Impossible(Missed):
    """What a fault tells that can never strike on this machine."""


SPARED = Missed("nobody could be spared")
NO_OCCASION = Missed("no occasion came")
OCCASION_SECONDS = 10.0  # how long a fault waits for the moment it is meant for


@dataclass
class Scenery:
    """The stage, the load on it, and those who watch."""

    stage: Stage
    load: Load
    followers: Followers
    watch: Watch
    began: float = 0.0  # when the first fault's time began to run
    drains: list[float] = field(default_factory=list)
    disk: Outages = field(default_factory=Outages)  # when it was full, or its files were deleted
    late: list[str] = field(default_factory=list)  # what took far longer than it may
    leaving: threading.Event = field(default_factory=threading.Event)

    def pause(self, seconds: float) -> None:
        """Let the fault last; shorter when everybody leaves."""
        self.leaving.wait(seconds)

    def settled(self, start: float, end: float, seconds: float, *kinds: str) -> float:
        """From when on the seconds count: both stores and somebody of each kind were there."""
        gaps = [gap for kind in kinds for gap in self.stage.fleet.gaps(kind, start)]
        away = [span for span in [*self.stage.outages.spans, *gaps] if span[0] < end]
        return settled(start, seconds, away)

    def speaker(self, port: int, server: int) -> tuple[int, Member] | None:
        """The process that has the other end of a connection, and the member it belongs to."""
        members = self.stage.fleet.by_pid()
        found = caller_and_ancestor(port, server, members)
        return (found[0], members[found[1]]) if found else None

    def caller(self, port: int, server: int) -> Member | None:
        """The member, for this fault alone; None when another one has it in hand."""
        _, member = self.speaker(port, server) or (0, None)
        return member if member and self.stage.fleet.take_this(member) else None


def within(seconds: float, holds: Callable[[], bool], every: float = 0.02) -> float | None:
    """The seconds after which it held; None when it did not in time."""
    began = time.monotonic()
    while time.monotonic() - began < seconds:
        with suppress(OSError, psycopg2.Error):
            if holds():
                return time.monotonic() - began
        time.sleep(every)
    return None
