"""One process at a time: locks that a dead process cannot keep."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

from workers.workspaces.git import Passing

PAUSE = 0.02


class Busy(Passing):
    """Another process on this machine has it open."""


def acquire(path: Path, patience: float) -> int:
    """The descriptor that holds the lock at `path` until it is closed here and in every child.

    Raises Busy after `patience` seconds.
    """
    deadline = time.monotonic() + patience
    while True:
        descriptor = attempt(path)
        if descriptor is not None:
            return descriptor
        if time.monotonic() > deadline:
            raise Busy(f"{path.stem} is in use by another process")
        time.sleep(PAUSE)


def attempt(path: Path) -> int | None:
    """The same at once, or None while another process holds it."""
    # Nobody else of this machine may enter: a program an agent left may carry the set-uid bit.
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    if _taken(descriptor, path):
        return descriptor
    os.close(descriptor)
    return None


def _taken(descriptor: int, path: Path) -> bool:
    """A lock on a file somebody unlinked meanwhile locks nothing."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.fstat(descriptor).st_ino == path.stat().st_ino
    except (BlockingIOError, FileNotFoundError):
        return False
