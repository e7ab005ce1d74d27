"""What one machine's `up` tells others on it: where it listens, and who still needs it."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TextIO

ANNOUNCEMENT = "up.json"
GUESTS = "guests.lock"


@dataclass(frozen=True)
class Running:
    """A DjinnBot that is up on this machine; `api_key` opens it."""

    url: str
    api_key: str = field(repr=False)
    pid: int
    pids: Mapping[str, int]


@contextmanager
def announced(data: Path, running: Running) -> Iterator[None]:
    """Let others on this machine find `running` while the block lasts (only this user can)."""
    path = data / ANNOUNCEMENT
    fresh = path.with_suffix(".new")
    fresh.touch(mode=0o600)
    fresh.write_text(json.dumps(asdict(running), indent=2))
    fresh.replace(path)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def find(data: Path) -> Running | None:
    """The DjinnBot that is up on this data folder, or None."""
    try:
        told = json.loads((data / ANNOUNCEMENT).read_text())
    except (FileNotFoundError, NotADirectoryError):
        return None
    return Running(**told) if _is_alive(told["pid"]) else None


def _is_alive(pid: int) -> bool:
    """Whether it is a process of ours; a number that now belongs to another user's is not."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, PermissionError):
        return False
    return True


@contextmanager
def visiting(data: Path) -> Iterator[None]:
    """Be a guest: an `up` started for guests stays while there is one, however they end."""
    with _guest_book(data) as book:
        fcntl.flock(book, fcntl.LOCK_SH)
        yield


def has_guests(data: Path) -> bool:
    """Whether anybody is visiting; not so while an `up` is leaving."""
    with _guest_book(data) as book:
        try:
            fcntl.flock(book, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


class Deserted:
    """Asks whether the last guest has left; once true, new guests wait until we are gone."""

    def __init__(self, data: Path) -> None:
        self._book = _guest_book(data)

    def __call__(self) -> bool:
        try:
            fcntl.flock(self._book, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def close(self) -> None:
        self._book.close()


def _guest_book(data: Path) -> TextIO:
    data.mkdir(parents=True, exist_ok=True)
    return (data / GUESTS).open("a")
