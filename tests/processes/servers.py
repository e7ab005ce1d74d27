"""Postgres and Redis as servers that go away, on purpose or not, and come back where they were."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

import redis


class Server:
    """A server that can be stopped and started again under the same address."""

    def __init__(self, opened: Callable[[Path], AbstractContextManager[str]], folder: Path) -> None:
        self.opened = opened
        self.folder = folder
        self.running = ExitStack()
        self.url = ""

    def start(self) -> None:
        """Start it; it dies with the calling thread, so that must be one that stays."""
        self.url = self.running.enter_context(self.opened(self.folder))

    def stop(self) -> None:
        self.running.close()

    def crash(self, pid: int, number: signal.Signals) -> None:
        """End it without a farewell; `pid` is the server's own."""
        os.kill(pid, number)
        self.stop()


def postmaster(folder: Path) -> int:
    """The process id of the Postgres whose data are below `folder`."""
    return int((folder / "postgres" / "data" / "postmaster.pid").read_text().split("\n", 1)[0])


def redis_pid(url: str) -> int:
    """The process id of a Redis or Valkey."""
    with redis.Redis.from_url(url) as client:
        return int(client.info("server")["process_id"])
