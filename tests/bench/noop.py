"""Jobs that do next to nothing, and a process of ours that does them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache

import redis

from models.config import settings
from tasks import task
from tests.bench.against.queueing import arrived, ticked
from workers import boot
from workers.broker import performs


@task(queue="short")
def arrive(sent_ns: int) -> None:
    """Say how long it took to get here."""


@task(queue="short")
def tick() -> None:
    """Count yourself."""


@performs(arrive)
def say_so(sent_ns: int) -> None:
    arrived(client(), sent_ns)


@performs(tick)
def count() -> None:
    ticked(client())


@cache
def client() -> redis.Redis:
    """Where the jobs say what became of them."""
    return redis.Redis.from_url(settings().redis_url or "")


def serve(threads: int) -> None:
    """What each worker process does."""
    boot.worker(["short"], threads)


@contextmanager
def serving(environment: dict[str, str], processes: int, threads: int) -> Iterator[None]:
    """So many worker processes of ours while the block lasts."""
    command = [sys.executable, "-c", f"from tests.bench import noop; noop.serve({threads})"]
    with ExitStack() as running:
        for _ in range(processes):
            process = subprocess.Popen(
                command, env={**os.environ, **environment}, stdout=subprocess.DEVNULL
            )
            running.callback(process.wait, 30)
            running.callback(process.send_signal, signal.SIGTERM)
        yield
