"""What a fault may lay its hands on."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from tests.processes.chaos.callers import caller_and_ancestor
from tests.processes.chaos.fleet import Member
from tests.processes.chaos.followers import Followers
from tests.processes.chaos.load import Load
from tests.processes.chaos.stage import Stage
from tests.processes.chaos.watching import Watch


class Missed(str):
    """What a fault tells that did not strike."""


SPARED = Missed("nobody could be spared")
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
    disk_trouble: list[float] = field(default_factory=list)
    late: list[str] = field(default_factory=list)  # what took far longer than it may
    leaving: threading.Event = field(default_factory=threading.Event)

    def pause(self, seconds: float) -> None:
        """Let the fault last; shorter when everybody leaves."""
        self.leaving.wait(seconds)

    def speaker(self, port: int, server: int) -> tuple[int, Member] | None:
        """The process that has the other end of a connection, and the member it belongs to."""
        members = self.stage.fleet.by_pid()
        found = caller_and_ancestor(port, server, members)
        return (found[0], members[found[1]]) if found else None

    def caller(self, port: int, server: int) -> Member | None:
        """The member, for this fault alone; None when another one has it in hand."""
        _, member = self.speaker(port, server) or (0, None)
        return member if member and self.stage.fleet.take_this(member) else None

    def kill_worker(self, dice: random.Random) -> str:
        """SIGKILL any agents' worker that is not the last."""
        member = self.stage.fleet.take("agents", dice)
        if member is None:
            return SPARED
        self.stage.fleet.kill(member)
        return f"killed {member.name}"


def waited_for(happened: threading.Event, otherwise: Callable[[], str]) -> str:
    """Nothing to add when it happened in time, else what was done in its place."""
    if happened.wait(OCCASION_SECONDS):
        return ""
    told = otherwise()
    return type(told)(f"no occasion came; {told}")


def within(seconds: float, holds: Callable[[], bool]) -> float | None:
    """The seconds after which it held; None when it did not in time."""
    began = time.monotonic()
    while time.monotonic() - began < seconds:
        with suppress(OSError):
            if holds():
                return time.monotonic() - began
        time.sleep(0.02)
    return None
