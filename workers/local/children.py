"""Ending a child process and whatever it started."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Sequence

LAST_SECONDS = 5.0


def exited(child: subprocess.Popen[bytes]) -> bool:
    """Whether it ended; it is not reaped, so its id still belongs to its process group."""
    if child.returncode is not None:
        return True
    flags = os.WEXITED | os.WNOHANG | os.WNOWAIT
    return os.waitid(os.P_PID, child.pid, flags) is not None


def end(child: subprocess.Popen[bytes], steps: Sequence[tuple[signal.Signals, float]] = ()) -> int:
    """Ask with each signal in turn, waiting its seconds, then kill; returns the exit code.

    The child must lead its own session: at the end its whole process group is killed.
    """
    for asked, seconds in steps:
        if not exited(child):
            os.kill(child.pid, asked)
            wait(child, seconds)
    if child.returncode is None:
        os.killpg(child.pid, signal.SIGKILL)
    return child.wait(LAST_SECONDS)


def wait(child: subprocess.Popen[bytes], seconds: float) -> None:
    """Wait until it ended or the seconds are over."""
    deadline = time.monotonic() + seconds
    while not exited(child) and time.monotonic() < deadline:
        time.sleep(0.02)
