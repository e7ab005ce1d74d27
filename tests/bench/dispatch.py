"""How soon an idle worker begins a job, and how many it gets done: ours beside three others.

    python -m tests.bench.dispatch [--rounds 5] [--count 100] [--jobs 5000] [--peers FOLDER]

Everybody has two worker processes on the same Redis server and does the same jobs. Ours is asked
in two ways: through the broker alone, as the peers are, and by a committed transaction, which goes
through the outbox and the relay first. Where jobs are counted ours gets them 500 at a time, which
is how the relay hands them over; the peers have no such call and get them one by one.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.base import db
from tasks import Task
from tests.bench import noop
from tests.bench.against.queueing import latencies, throughput
from tests.bench.figures import Contest
from tests.bench.peers import installed, peer
from tests.bench.stage import engine
from workers.broker import BellBroker

PEERS = ("dramatiq", "celery", "taskiq")  # the packages; each in a logical database of its own
BATCH = 500  # requests that the relay hands over at once; rows in one transaction
PAUSE = 0.1


@dataclass(frozen=True)
class Contender:
    """Somebody's queue with its workers."""

    name: str
    latencies: Callable[[int], list[float]]
    throughput: Callable[[int], float]


def main() -> None:
    """Measure in turns and print."""
    chosen = argparse.ArgumentParser(description=__doc__)
    chosen.add_argument("--rounds", type=int, default=5)
    chosen.add_argument("--count", type=int, default=100)
    chosen.add_argument("--jobs", type=int, default=5000)
    chosen.add_argument("--threads", type=int, default=8)
    chosen.add_argument("--peers", help="keep their environment in this folder")
    given = chosen.parse_args()
    with installed(given.peers) as python, engine(), ExitStack() as open_:
        contenders = [*theirs(python, open_), *ours(given.threads, open_)]
        soon = Contest("send -> first line of the job, one job per 0.1 s", PEERS[0])
        many = Contest("jobs of one INCR, from the first send to the last done", PEERS[0])
        for contender in contenders:
            print(f"warming up: {contender.name}", flush=True)
            contender.throughput(500)
        for _ in range(given.rounds):
            for contender in contenders:
                taken = contender.latencies(given.count)
                soon.add(contender.name, 1000 * len(taken) / sum(taken), taken)
                if contender.throughput is not nothing:
                    many.add(contender.name, contender.throughput(given.jobs))
        soon.show("p50 <= 2, p95 <= 5, p99 <= 15 ms; the rate is 1 / mean latency")
        many.show(">= 3,700/s")


def theirs(python: Path, open_: ExitStack) -> Iterator[Contender]:
    """The peers, idle until they are asked."""
    shown = "from importlib.metadata import version as v; import sys; [print(n, v(n)) for n in sys"
    packages = [*PEERS, "taskiq-redis", "redis"]
    subprocess.run([python, "-c", f"{shown}.argv[1:]]", *packages], check=True)
    for number, name in enumerate(PEERS, start=5):
        os.environ["QUEUE_URL"] = os.environ["REDIS_URL"].removesuffix("/0") + f"/{number}"
        asked = open_.enter_context(peer(python, f"{name}_queue"))
        yield Contender(
            name,
            lambda count, asked=asked: asked.ask("latencies", count, PAUSE),
            lambda count, asked=asked: asked.ask("throughput", count),
        )


def ours(threads: int, open_: ExitStack) -> Iterator[Contender]:
    """Our worker processes, asked by way of the broker and by way of a commit."""
    open_.enter_context(noop.serving({}, 2, threads))
    open_.enter_context(clock())
    open_.enter_context(db.connection_context())
    broker = BellBroker(os.environ["REDIS_URL"])
    open_.callback(broker.close)
    yield contender(
        "ours, from the broker",
        lambda sent_ns: broker.send("short", [body(noop.arrive, sent_ns)]),
        lambda: broker.send("short", [body(noop.tick)] * BATCH),
    )
    yield contender("ours, from the commit (outbox, relay)", committed, many_committed)
    yield Contender("a bare commit, part of the line above", commits, nothing)


def contender(name: str, one: Callable[[int], object], batch: Callable[[], object]) -> Contender:
    """Ours, by a way to ask for a timed job and a way to ask for `BATCH` jobs that count."""

    def many(count: int) -> None:
        for _ in range(0, count, BATCH):
            batch()

    return Contender(
        name,
        lambda count: latencies(noop.client(), one, count, PAUSE),
        lambda count: throughput(noop.client(), many, count),
    )


def body(task: Task[Any], *args: Any) -> dict[str, Any]:
    """A request as the outbox has it."""
    return {"task": task.name, "args": args, "kwargs": {}}


def committed(sent_ns: int) -> None:
    """The time of the commit itself is in the figure."""
    with db.atomic():
        noop.arrive.enqueue(sent_ns)


def nothing(count: int) -> float:
    """No queue, no jobs."""
    return 0.0


def commits(count: int) -> list[float]:
    """Milliseconds of committing one row that nobody hears of."""
    db.execute_sql("CREATE TABLE IF NOT EXISTS bench_rows (number BIGINT)")
    taken = []
    for number in range(count):
        time.sleep(PAUSE)
        began = time.perf_counter()
        with db.atomic():
            db.execute_sql("INSERT INTO bench_rows VALUES (%s)", (number,))
        taken.append((time.perf_counter() - began) * 1000)
    return taken


def many_committed() -> None:
    """Rows of one transaction."""
    with db.atomic():
        for _ in range(BATCH):
            noop.tick.enqueue()


@contextmanager
def clock() -> Iterator[None]:
    """The process with the relay."""
    process = subprocess.Popen(
        [sys.executable, "-c", "from workers import boot; boot.clock()"], stdout=subprocess.DEVNULL
    )
    yield
    process.terminate()
    process.wait(20)


if __name__ == "__main__":
    main()
