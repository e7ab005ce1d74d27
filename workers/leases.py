"""Keeping leases alive: one thread prolongs all leases of this process and stops lost work."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import peewee
from playhouse.pool import MaxConnectionsExceeded

from models import steps
from models.base import db
from models.logs import log
from workers.halting import LOST, Halt

BEAT_SECONDS = 0.75
LEASE_SECONDS = steps.LEASE_MS / 1000
DRAINING = "draining"
PAUSE_SECONDS = 0.05


class Keeper:
    """The leases this process holds, those of suspects among them; `drain` calls all of it off."""

    def __init__(self) -> None:
        self.suspects: set[str] = set()
        self._halts: dict[str, Halt] = {}
        self._lock = threading.Lock()
        self._drained = False
        self._thread: threading.Thread | None = None

    @contextmanager
    def holding(self, lease_id: str, seconds: float, suspect: bool = False) -> Iterator[Halt]:
        """Keep the lease while the block runs; its halt rises when the lease is lost."""
        halt = Halt(seconds)
        halt.on_further(lambda: self.suspects.discard(lease_id))
        halt.valid_until = time.monotonic() + LEASE_SECONDS
        with self._lock:
            self._halts[lease_id] = halt
            self.suspects |= {lease_id} if suspect else set()
            drained = self._drained
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._beat, daemon=True, name="leases")
                self._thread.start()
        if drained:
            halt.stop(DRAINING)
        try:
            yield halt
        finally:
            with self._lock:
                del self._halts[lease_id]
                self.suspects.discard(lease_id)

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

    def _beat(self) -> None:
        while True:
            time.sleep(BEAT_SECONDS)
            try:
                self._renew()
            except (peewee.PeeweeException, MaxConnectionsExceeded) as error:
                log.warning("leases not renewed", error=str(error).strip())
                self._stop_overdue()

    def _renew(self) -> None:
        with self._lock:
            held = set(self._halts)
        if not held:
            return
        began = time.monotonic()
        with db.connection_context():
            kept = steps.renew(held)
        with self._lock:
            for lease in kept & self._halts.keys():
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
