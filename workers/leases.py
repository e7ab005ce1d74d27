"""Keeping leases alive: one thread prolongs all leases of this process, one stops lost work."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from models import leases, steps
from models.base import db
from models.logs import log
from workers.halting import LOST, Halt

BEAT_SECONDS = 0.75
AGAIN_SECONDS = 0.25  # after a beat that failed, or while nothing was held
LOOK_SECONDS = 0.25  # between looks whether a lease has run out; those need no database
LEASE_SECONDS = steps.LEASE_MS / 1000
DRAINING = "draining"
PAUSE_SECONDS = 0.05


class Keeper:
    """The leases this process holds; `drain` calls all of it off.

    `alone` are those among them whose steps are suspected, one at a time, of killing workers.
    """

    def __init__(self) -> None:
        self.alone: set[str] = set()
        self._halts: dict[str, Halt] = {}
        self._lock = threading.Lock()
        self._drained = False
        self._threads: list[threading.Thread] = []

    @contextmanager
    def holding(
        self, lease_id: str, seconds: float, valid_until: float, alone: bool = False
    ) -> Iterator[Halt]:
        """Keep the lease while the block runs; its halt rises when the lease is lost.

        It is good until `valid_until` (monotonic) as it is.
        """
        halt = Halt(seconds)
        halt.on_further(lambda: self.alone.discard(lease_id))
        halt.valid_until = valid_until
        with self._lock:
            self._halts[lease_id] = halt
            self.alone |= {lease_id} if alone else set()
            drained = self._drained
            self._begin()
        if drained:
            halt.stop(DRAINING)
        try:
            yield halt
        finally:
            with self._lock:
                del self._halts[lease_id]
                self.alone.discard(lease_id)

    def drain(self, seconds: float = 0.0) -> None:
        """Call off whatever begins from now on, and after `seconds` what is under way.

        An answer that comes meanwhile is kept: it was paid for, and need not be asked for again.
        """
        with self._lock:
            self._drained = True
            halts = list(self._halts.values())
        for halt in halts:
            halt.close(DRAINING)
        deadline = time.monotonic() + seconds
        while self._halts and time.monotonic() < deadline:
            time.sleep(PAUSE_SECONDS)
        for halt in halts:
            halt.stop(DRAINING)

    def _begin(self) -> None:
        """Have both threads at work; those of a process that this one was forked from are not."""
        if not any(thread.is_alive() for thread in self._threads):
            looks = (self._beat, self._watch)
            self._threads = [
                threading.Thread(target=look, daemon=True, name="leases") for look in looks
            ]
            for thread in self._threads:
                thread.start()

    def _beat(self) -> None:
        while True:
            time.sleep(AGAIN_SECONDS)
            try:
                if self._halts:
                    self._keep()
            except Exception as error:  # whatever it is, the next beat may go well
                log.warning("leases not renewed", error=str(error).strip() or repr(error))

    def _watch(self) -> None:
        """Stop what is overdue, also while a beat waits for a database that says nothing."""
        while True:
            time.sleep(LOOK_SECONDS)
            self._stop_overdue()

    def _keep(self) -> None:
        """Renew while anything is held, by one connection: others may be long in coming."""
        with db.connection_context():
            while self._halts:
                self._renew()
                time.sleep(BEAT_SECONDS)

    def _renew(self) -> None:
        with self._lock:
            held = set(self._halts)
        began = time.monotonic()
        kept, prolonged = leases.renew(held)
        with self._lock:
            for lease in prolonged & self._halts.keys():
                self._halts[lease].valid_until = began + LEASE_SECONDS
        self._stop(held - kept)

    def _stop_overdue(self) -> None:
        """Whoever waits for something would not look at the clock."""
        now = time.monotonic()
        with self._lock:
            late = {lease for lease, halt in self._halts.items() if now > (halt.valid_until or now)}
        self._stop(late)

    def _stop(self, leases: set[str]) -> None:
        with self._lock:
            lost = [self._halts[lease] for lease in leases if lease in self._halts]
        for halt in lost:
            halt.stop(LOST)


keeper = Keeper()
