"""Clients follow runs on one web process; text and events go to every one of them.

    python -m tests.bench.sse [--clients 5000] [--runs 5000] [--rate 3] [--seconds 10]

Floor: the same messages through Redis PUBLISH to as many bare subscribers. Every message carries
its number and the moment it was sent; the clients count what is lost and what comes twice.
Then one client replays a run of 10,000 events.
"""

from __future__ import annotations

import argparse
import multiprocessing
import re
import selectors
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from multiprocessing.synchronize import Event as Signal
from typing import Any
from urllib.parse import urlsplit

import redis

from models import base, events, streams
from models.pipelines import Pipeline
from models.runs import COMPLETED, PAUSED, Run
from tests.bench.figures import spread
from tests.bench.run_roundtrip import opened
from tests.bench.stage import measured
from tests.processes.product import Product

WAVE = 200  # clients that connect at the same moment
LONG = "run_bench_long"
PAST = """
INSERT INTO events (run_id, seq, type, data, created_at)
SELECT %s, n, 'tool_call_end', jsonb_build_object('stepId', 'IMPLEMENT', 'toolName', 'read',
    'toolCallId', 'call_' || n, 'result', repeat('word ', 20)), 1700000000000
FROM generate_series(1, 10000) AS n
"""
MESSAGE = re.compile(rb"bench ([a-z]+) (\d+) (\d+) (\d+)")  # kind, topic, number, sent (ns)
DELTA, EVENT, BARE = "delta", "event", "bare"
Heard = tuple[str, int, int]  # kind, when it was sent and when it arrived (ns)


def message(kind: str, topic: int, number: int) -> str:
    """The text that the clients look for."""
    return f"bench {kind} {topic} {number} {time.monotonic_ns()}"


def main() -> None:
    """Measure the floor, then the streams, and print."""
    chosen = argparse.ArgumentParser(description=__doc__)
    chosen.add_argument("--clients", type=int, default=5000)
    chosen.add_argument("--runs", type=int, default=5000, help="runs that the clients share")
    chosen.add_argument("--rate", type=float, default=3, help="deltas a second and run")
    chosen.add_argument("--seconds", type=float, default=10)
    given = chosen.parse_args()
    given.runs = min(given.runs, given.clients)
    with measured("web", "clock") as running, opened_database(running):
        Run.insert_many(row(f"run_bench{number}") for number in range(given.runs)).execute()
        floor = subscribers(running.environment["REDIS_URL"], given)
        show("bare Redis PUBLISH", given, *listen(floor, running, given, publish_bare))
        print(f"  web process {resident(running)} MB resident before its clients")
        followers = following(running, given)
        print(f"  web process {resident(running)} MB resident with {given.clients} silent clients")
        show("SSE of /v1/events/stream", given, *listen(followers, running, given, publish_all))
        print(f"  web process {resident(running)} MB resident")
        replay(running)


def following(running: Product, given: Any) -> list[socket.socket]:
    """The clients, each told that it is connected; says how long that took."""
    began = time.monotonic()
    followers: list[socket.socket] = []
    while len(followers) < given.clients:
        wave = range(len(followers), min(len(followers) + WAVE, given.clients))
        paths = [f"/v1/events/stream?run_id=run_bench{number % given.runs}" for number in wave]
        followers += [opened(running.url, path) for path in paths]
        for follower in followers[wave.start :]:
            told = follower.recv(1 << 16)
            assert b": connected" in told, told
    print(f"  {given.clients} clients connected in {time.monotonic() - began:.1f} s")
    time.sleep(1)
    return followers


@contextmanager
def opened_database(running: Product) -> Iterator[None]:
    """The product's database for our models."""
    base.connect(running.environment["DATABASE_URL"])
    with base.db.connection_context():
        yield


def row(run_id: str, **changes: Any) -> dict[str, Any]:
    """A run that nobody works on."""
    version = Pipeline.get_by_id("engineering").version_id
    told = {"id": run_id, "state": PAUSED, "pipeline_id": "engineering", "version_id": version}
    return {**told, "task": "Listen", **changes}


def replay(running: Product) -> None:
    """How long one client takes to hear 10,000 events of a run that is over; the best of five."""
    Run.insert(row(LONG, state=COMPLETED, event_seq=10_000, completed_at=base.now_ms())).execute()
    base.db.execute_sql(PAST, (LONG,))
    took = []
    for _ in range(5):
        began = time.monotonic()
        follower = opened(running.url, f"/v1/events/stream?run_id={LONG}")
        told = b""
        while piece := follower.recv(1 << 18):
            told += piece
        took.append((time.monotonic() - began) * 1000)
        follower.close()
        assert told.count(b"\nid: ") == 10_000
        assert told.endswith(b'event: end\ndata: {"status":"ended"}\n\n')
    print(f"\nreplay of 10,000 events ({len(told)} bytes): {spread(took)}")


def show(
    name: str, given: Any, sent: Mapping[str, int], got: Counter[str], heard: list[Heard]
) -> None:
    """Print what arrived of what was sent: each message at every client of its topic."""
    each = given.clients // given.runs
    print(f"\n{name}: {sum(sent.values())} sent, to {each} clients each")
    for kind, count in sent.items():
        arrived = [times for key, times in got.items() if key.startswith(kind)]
        lost = count * each - sum(min(times, each) for times in arrived)
        twice = sum(max(times - each, 0) for times in arrived)
        print(f"  {kind}: {sum(arrived)} arrived, {lost} lost, {twice} twice")
        print(f"    {spread([(came - went) / 1e6 for of, went, came in heard if of == kind])}")
    first, last = min(went for _, went, _ in heard), max(went for _, went, _ in heard)
    within = sum(came <= last for _, _, came in heard) / (last - first) * 1e9
    print(f"  {within:.0f} frames a second arrived while {(last - first) / 1e9:.1f} s were sent")
    print(f"  all {spread([(came - went) / 1e6 for _, went, came in heard])}", flush=True)


def listen(
    sockets: Sequence[socket.socket], running: Product, given: Any, publish: Any
) -> tuple[Mapping[str, int], Counter[str], list[Heard]]:
    """Read every socket while a process of its own publishes; gives sent, got and latencies."""
    spawning = multiprocessing.get_context("spawn")
    sent, done = spawning.Queue(), spawning.Event()
    environment = running.environment["DATABASE_URL"], running.environment["REDIS_URL"]
    amounts = given.runs, given.rate, given.seconds
    publisher = spawning.Process(target=publish, args=(environment, amounts, sent, done))
    publisher.start()
    got: Counter[str] = Counter()
    heard: list[Heard] = []
    with selectors.DefaultSelector() as selector:
        for number, stream in enumerate(sockets):
            stream.setblocking(False)
            selector.register(stream, selectors.EVENT_READ, number)
        rest: dict[int, bytes] = {}
        lately = time.monotonic()
        while not done.is_set() or time.monotonic() - lately < 2:  # heartbeats are no messages
            before = len(heard)
            for key, _ in selector.select(0.2):
                rest[key.data] = _read(key.fileobj, rest.get(key.data, b""), got, heard)
            lately = time.monotonic() if len(heard) > before else lately
    publisher.join()
    for stream in sockets:
        stream.close()
    return sent.get(), got, heard


def _read(stream: Any, rest: bytes, got: Counter[str], heard: list[Heard]) -> bytes:
    """Count the messages in what has come; gives the unfinished end."""
    whole, newline, rest = (rest + stream.recv(1 << 18)).rpartition(b"\n")
    now = time.monotonic_ns()
    for kind, topic, number, sent in MESSAGE.findall(whole + newline):
        got[b" ".join((kind, topic, number)).decode()] += 1
        heard.append((kind.decode(), int(sent), now))
    return rest


def publish_bare(urls: Sequence[str], amounts: Any, sent: Any, done: Signal) -> None:
    """PUBLISH to one channel per listener."""
    clients, rate, seconds = amounts
    client = redis.Redis.from_url(urls[1])
    numbers = 0
    for numbers, topics in ticking(clients, rate, seconds):
        pipeline = client.pipeline(transaction=False)
        for topic in topics:
            pipeline.publish(f"bench{topic}", message(BARE, topic, numbers) + "\n")
        pipeline.execute()
    sent.put({BARE: clients * (numbers + 1)})
    done.set()


def publish_all(urls: Sequence[str], amounts: Any, sent: Any, done: Signal) -> None:
    """Deltas straight to the stream; meanwhile an event a second of 100 runs through Postgres."""
    clients, rate, seconds = amounts
    base.connect(urls[0])
    recorded: list[int] = []
    recorder = threading.Thread(target=record_events, args=(min(100, clients), seconds, recorded))
    recorder.start()
    numbers = 0
    for numbers, topics in ticking(clients, rate, seconds):
        streams.publish(urls[1], [delta(topic, numbers) for topic in topics])
    recorder.join()
    sent.put({DELTA: clients * (numbers + 1), EVENT: len(recorded)})
    done.set()


def record_events(clients: int, seconds: float, recorded: list[int]) -> None:
    """One durable event after the other, `clients` a second."""
    with base.db.connection_context():
        for number, topics in ticking(clients, 1, seconds):
            for topic in topics:
                said = {"text": message(EVENT, topic, number)}
                recorded.append(events.record(f"run_bench{topic}", ("turn_end", said)))


def delta(topic: int, number: int) -> dict[str, Any]:
    """A piece of text as an agent's transcript sends it."""
    run = {"runId": f"run_bench{topic}", "stepId": "IMPLEMENT"}
    return events.loose(None, "agent_output", {**run, "chunk": message(DELTA, topic, number)})


def ticking(clients: int, rate: float, seconds: float) -> Iterable[tuple[int, range]]:
    """`rate` times a second a number and all topics, in ten slices so that load is even."""
    slices = 10
    began = time.monotonic()
    for tick in range(round(rate * seconds) * slices):
        time.sleep(max(0.0, began + tick / rate / slices - time.monotonic()))
        number, part = divmod(tick, slices)
        yield number, range(part * clients // slices, (part + 1) * clients // slices)


def subscribers(url: str, given: Any) -> list[socket.socket]:
    """Bare connections, each subscribed to its own channel."""
    parts = urlsplit(url)
    sockets = []
    for number in range(given.clients):
        stream = socket.create_connection((parts.hostname, parts.port))
        stream.sendall(
            f"AUTH {parts.password}\r\nSUBSCRIBE bench{number % given.runs}\r\n".encode()
        )
        sockets.append(stream)
    return sockets


def resident(running: Product) -> int:
    """Megabytes of the process that serves HTTP (gunicorn's child)."""
    pid = running.processes["web"].pid
    with open(f"/proc/{pid}/task/{pid}/children") as children:  # noqa: PTH123
        child = children.read().split()[0]
    with open(f"/proc/{child}/statm") as statm:  # noqa: PTH123
        return int(statm.read().split()[1]) * 4096 // 1_000_000


if __name__ == "__main__":
    main()
