"""What every queue is asked: how soon an idle worker begins a job, and how many jobs it gets done.

The jobs are the same everywhere: `arrive` says when it began (on the clock that all processes of a
machine share), `tick` counts itself with one INCR.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import redis

ARRIVED = "bench:arrived"
DONE = "bench:done"
PATIENCE = 120.0


def arrived(client: redis.Redis, sent_ns: int) -> None:
    """The first and only line of the job `arrive`."""
    client.rpush(ARRIVED, time.monotonic_ns() - sent_ns)


def ticked(client: redis.Redis) -> None:
    """The whole of the job `tick`."""
    client.incr(DONE)


def latencies(
    client: redis.Redis, send: Callable[[int], object], count: int, pause: float
) -> list[float]:
    """Milliseconds from sending to the first line of the job, one job every `pause` seconds."""
    client.delete(ARRIVED)
    for _ in range(count):
        time.sleep(pause)
        send(time.monotonic_ns())
    until(lambda: client.llen(ARRIVED) >= count)
    return [int(taken) / 1e6 for taken in client.lrange(ARRIVED, 0, -1)]


def throughput(client: redis.Redis, send: Callable[[int], object], count: int) -> float:
    """Jobs done per second, from before the first is sent until the last is done."""
    client.delete(DONE)
    began = time.perf_counter()
    send(count)
    until(lambda: int(client.get(DONE) or 0) >= count, every=0.005)
    return count / (time.perf_counter() - began)


def until(holds: Callable[[], bool], every: float = 0.02) -> None:
    """Wait for a condition; raises TimeoutError."""
    deadline = time.monotonic() + PATIENCE
    while not holds():
        if time.monotonic() > deadline:
            raise TimeoutError("jobs got lost")
        time.sleep(every)


@contextmanager
def workers(*command: str) -> Iterator[None]:
    """The peer's own command line (python -m ...) running while the block lasts."""
    process = subprocess.Popen(
        [sys.executable, "-m", *command],
        cwd=Path(__file__).parent,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield
    finally:
        process.terminate()
        process.wait(30)
