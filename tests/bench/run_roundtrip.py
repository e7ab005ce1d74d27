"""A run over HTTP: from POST /v1/runs to its run_complete event, with the scripted model.

    python -m tests.bench.run_roundtrip [--seconds 8] [--rounds 3] [--threads N]

Watched two ways: on one stream of everything, opened before (a dashboard), and on a stream that
each caller opens for its own run. Floors: bare Flask, and an entry through a Redis stream.
The worker has as many threads as the product gives it, unless N says otherwise.
"""

from __future__ import annotations

import argparse
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import redis
from psycopg2.extensions import connection as Connection

from models.config import Settings
from tests.bench.figures import Contest, spread
from tests.bench.load import once, request, storm
from tests.bench.stage import bare, database, measured
from tests.processes.product import Product

FORM = {
    "pipeline_id": "bench",
    "task_description": "Say what it was",
    "model_override": "scripted/demo",
}
DISPATCH = """
SELECT started.created_at - asked.created_at
FROM events AS asked JOIN events AS started USING (run_id)
WHERE asked.type = 'run_created' AND started.type = 'step_started' AND asked.created_at > %s
"""
Watch = Callable[[str], None]


class Dashboard:
    """One stream of everything; callers wait on it for the end of their run."""

    def __init__(self, url: str) -> None:
        self.stream = opened(url, "/v1/events/stream")
        self.over: dict[str, threading.Event] = {}
        self.lock = threading.Lock()
        threading.Thread(target=self._read, daemon=True).start()

    def watch(self, run_id: str) -> None:
        """Return once the run is complete."""
        if not self._event(run_id).wait(30):
            raise TimeoutError(run_id)

    def _event(self, run_id: str) -> threading.Event:
        with self.lock:
            return self.over.setdefault(run_id, threading.Event())

    def _read(self) -> None:
        rest = b""
        while piece := self.stream.recv(1 << 18):
            *lines, rest = (rest + piece).split(b"\n")
            for line in lines:
                if b'"run_complete"' in line:
                    found = json.loads(line.partition(b":")[2])
                    self._event(found["runId"]).set()


def main() -> None:
    """Measure in turns and print."""
    chosen = argparse.ArgumentParser(description=__doc__)
    chosen.add_argument("--rounds", type=int, default=3)
    chosen.add_argument("--seconds", type=float, default=8)
    chosen.add_argument("--threads", type=int, default=Settings.worker_threads)
    given = chosen.parse_args()
    with (
        measured(WORKER_THREADS=str(given.threads)) as running,
        bare(running) as floor,
        database(running) as connection,
    ):
        dashboard = Dashboard(running.url)
        alone = lambda run_id: follow(running.url, run_id)  # noqa: E731
        keep_running(running, dashboard.watch, 8, 2)  # warm
        for clients, goal in ((1, "p50 <= 12 ms"), (16, ">= 300/s")):
            contest = Contest(f"run over HTTP, create -> run_complete seen, {clients} callers")
            for _ in range(given.rounds):
                bare_route = storm(floor, request("POST", "/nothing", FORM), clients, 1)
                contest.add("bare Flask", bare_route.rate, bare_route.milliseconds)
                hops = redis_hops(running.environment["REDIS_URL"], 1000)
                contest.add("bare Redis XADD -> XREAD", 1e6 / sum(hops), hops)
                for name, watch in (("one stream", dashboard.watch), ("a stream each", alone)):
                    ran = keep_running(running, watch, clients, given.seconds)
                    contest.add(f"run, {name}", len(ran) / given.seconds, ran)
            contest.show(goal)
        with dispatches(connection) as taken:
            ran = keep_running(running, dashboard.watch, 50, given.seconds)
        print(f"\n50 concurrent runs on one agents worker of {given.threads} threads")
        print(f"  runs {len(ran) / given.seconds:.1f}/s {spread(ran)}")
        print(f"  run_created -> step_started {spread(taken)}   (goal: p95 < 500 ms)")


def keep_running(running: Product, watch: Watch, callers: int, seconds: float) -> list[float]:
    """Each caller asks for a run, sees it end and asks again; milliseconds of each run."""
    ends = time.perf_counter() + seconds
    taken: list[float] = []

    def call() -> None:
        asked = request("POST", "/v1/runs", FORM)
        while (began := time.perf_counter()) < ends:
            watch(json.loads(once(running.url, asked)[1])["id"])
            if time.perf_counter() < ends:
                taken.append((time.perf_counter() - began) * 1000)

    threads = [threading.Thread(target=call) for _ in range(callers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return taken


def follow(url: str, run_id: str) -> None:
    """Read the run's own stream until it says that the run is complete."""
    with opened(url, f"/v1/events/stream?run_id={run_id}") as stream:
        seen = b""
        while b'"run_complete"' not in seen:
            piece = stream.recv(1 << 16)
            if not piece:
                raise ConnectionError(run_id)
            seen = seen[-20:] + piece


def opened(url: str, path: str) -> socket.socket:
    """A connection whose answer has begun."""
    parts = urlsplit(url)
    stream = socket.create_connection((parts.hostname, parts.port), timeout=30)
    stream.sendall(f"GET {path} HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n".encode())
    return stream


def redis_hops(url: str, count: int) -> list[float]:
    """Milliseconds from XADD to an XREAD that waits for it, one after the other."""
    arrivals: list[float] = []
    writer, reader = redis.Redis.from_url(url), redis.Redis.from_url(url)
    after = writer.xadd("bench", {"n": 0})
    for _ in range(count):
        began = time.perf_counter()
        writer.xadd("bench", {"n": 1}, maxlen=1000)
        after = reader.xread({"bench": after}, block=1000)[0][1][-1][0]
        arrivals.append((time.perf_counter() - began) * 1000)
    return arrivals


@contextmanager
def dispatches(connection: Connection) -> Iterator[list[float]]:
    """Filled at the end with the milliseconds each run waited until its step began."""
    began = int(time.time() * 1000)
    taken: list[float] = []
    yield taken
    time.sleep(1)
    cursor = connection.cursor()
    cursor.execute(DISPATCH, (began,))
    taken.extend(float(waited) for (waited,) in cursor)


if __name__ == "__main__":
    main()
