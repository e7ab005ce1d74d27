"""One program in our care: started, and started again whenever it ended."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from workers.local.children import end, exited

LONGEST_PAUSE = 30.0
STEADY_SECONDS = 60.0  # a process that ran so long starts again at once

Say = Callable[[str], None]


@dataclass
class Charge:
    """A program that is to run: what starts it, and how that goes."""

    name: str
    log: Path
    launch: Callable[[], subprocess.Popen[bytes]]
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    failures: int = 0
    due: float = 0.0

    def start(self) -> subprocess.Popen[bytes]:
        """Start it; it dies with the calling thread."""
        self.process, self.started = self.launch(), time.monotonic()
        return self.process

    def tend(self, say: Say) -> None:
        """Look at it once: notice and say that it ended, start it when that is due."""
        now = time.monotonic()
        if self.process is None and now >= self.due:
            self.start()
        elif self.process is not None and exited(self.process):
            self._put_off(end(self.process), now, say)

    def stop(self, farewell: Sequence[tuple[signal.Signals, float]] = ()) -> None:
        """End it, with these signals if it heeds them (see `end`)."""
        if self.process is not None:
            end(self.process, farewell)
            self.process = None

    def _put_off(self, code: int, now: float, say: Say) -> None:
        self.failures = 0 if now - self.started > STEADY_SECONDS else self.failures + 1
        pause = pause_after(self.failures)
        self.process, self.due = None, now + pause
        say(f"{self.name} {ended(code)}; again in {pause:g} s. See {self.log}")


def pause_after(failures: int) -> float:
    """Seconds before a program is started again: 0, then 1, 2, 4 ... up to half a minute."""
    return 0.0 if failures == 0 else min(LONGEST_PAUSE, 2.0 ** (failures - 1))


def ended(code: int) -> str:
    """How a program ended, by its exit code."""
    return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with {code}"
