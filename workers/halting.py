"""Stopping work that is under way: one switch, seen by model streams, commands and loops."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

LOST = "lost"  # why work stops whose lease is not ours any more


class Stopped(Exception):
    """The work was called off: cancelled, paused, taken over, or its process is going away."""


class DeadlinePassed(Exception):
    """The work took longer than it was allowed to."""


class Standing(NamedTuple):
    """How a switch stands, for the same switch in another process of this machine."""

    reason: str | None
    closing: str | None
    valid_until: float | None  # monotonic
    deadline: float | None  # monotonic


class Halt:
    """A switch that is raised once; whoever blocks registers how to be woken."""

    def __init__(self, seconds: float | None = None) -> None:
        self.reason: str | None = None
        self.valid_until: float | None = None  # monotonic; later it may be somebody else's work
        self.deadline = None if seconds is None else time.monotonic() + seconds
        self.closing: str | None = None
        self._raised = threading.Event()
        self._lock = threading.Lock()
        self._wakers: list[Callable[[], None]] = []
        self._on_further: Callable[[], None] = lambda: None

    def stop(self, reason: str) -> None:
        """Raise the switch; the first reason stays."""
        with self._lock:
            if self._raised.is_set():
                return
            self.reason = reason
            self._raised.set()
            wakers = list(self._wakers)
        for wake in wakers:
            wake()

    def close(self, reason: str) -> None:
        """Let what is under way come to its end, but have nothing more begun."""
        self.closing = reason

    def begin(self) -> None:
        """Raise what `check` raises, and Stopped if nothing more may be begun."""
        if self.closing is not None:
            self.stop(self.closing)
        self.check()

    @property
    def standing(self) -> Standing:
        return Standing(self.reason, self.closing, self.valid_until, self.deadline)

    def stand(self, standing: Standing) -> None:
        """Stand as the other one does."""
        self.closing, self.valid_until, self.deadline = standing[1:]
        if standing.reason is not None:
            self.stop(standing.reason)

    def on_further(self, tell: Callable[[], None]) -> None:
        """Have `tell` called whenever the work has come further than workers before."""
        self._on_further = tell

    def further(self) -> None:
        """Say that the work has come further: an act is done and written down."""
        self._on_further()

    @property
    def stopped(self) -> bool:
        return self._raised.is_set()

    def check(self) -> None:
        """Raise Stopped or DeadlinePassed if the work must end now."""
        if self.valid_until is not None and time.monotonic() > self.valid_until:
            self.stop(LOST)  # this process was stopped, or its beats come late
        if self._raised.is_set():
            raise Stopped(self.reason)
        if self.deadline is not None and time.monotonic() > self.deadline:
            raise DeadlinePassed

    def remaining(self, at_most: float) -> float:
        """Seconds a blocking call may take: `at_most`, or less when the deadline is nearer."""
        if self.deadline is None:
            return at_most
        return max(0.0, min(at_most, self.deadline - time.monotonic()))

    def wait(self, seconds: float) -> None:
        """Sleep, but wake up and raise when the switch is raised."""
        self._raised.wait(self.remaining(seconds))
        self.check()

    @contextmanager
    def waking(self, wake: Callable[[], None]) -> Iterator[None]:
        """Call `wake` if the switch is raised inside the block (or was already)."""
        with self._lock:
            self._wakers.append(wake)
            raised = self._raised.is_set()
        if raised:
            wake()
        try:
            yield
        finally:
            with self._lock:
                self._wakers.remove(wake)
