"""Streams of two web processes: cut, killed, emptied under them; every event once, in order."""

from __future__ import annotations

import json
import random
import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import httpx2 as httpx
import pytest
import redis

from models import events
from tests.processes.product import UNNUMBERED, Product, frames, product, scripted, until
from tests.processes.test_web import opened, received

TALK = {"chunks": 300, "chunk": "word ", "delay_ms": 2}
CALLS = [{"name": "bash", "arguments": {"command": "true"}}] * 40
WORKING = scripted("Try again and again", FIX=[{**TALK, "calls": CALLS}])
UNTIL_GO = {"name": "bash", "arguments": {"command": "until [ -e go ]; do sleep 0.05; done"}}
HELD = scripted("Try until you may end", FIX=[{**TALK, "calls": [*CALLS, UNTIL_GO]}])
LARGE = "word " * 200


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[tuple[Product, Product]]:
    """The product, and a second web process of it."""
    with product(tmp_path) as running:
        other = Product(tmp_path, running.environment)
        other.start("web-2")
        other.ready()
        yield running, other
        other.close()


class Follower:
    """Follows a run over one web process or another and goes on where it was cut."""

    def __init__(self, run_id: str) -> None:
        self.run_id = run_id
        self.last: str | None = None
        self.ended = False
        self.numbers: list[int] = []
        self.cuts = 0

    def read(self, at: Product, most: int) -> None:
        """At most so many frames of a fresh connection; whoever breaks it, it may be resumed."""
        headers = {"Last-Event-ID": self.last} if self.last else {}
        path = f"{at.url}/v1/events/stream"
        with (
            suppress(httpx.TransportError),
            httpx.stream(
                "GET", path, params={"run_id": self.run_id}, headers=headers, timeout=60
            ) as answer,
        ):
            answer.raise_for_status()
            for number, (position, event) in enumerate(frames(answer.iter_lines()), 1):
                self.last = position
                self.ended |= event["type"] in events.FINAL
                if event["type"] not in UNNUMBERED:
                    self.numbers.append(int(position or ""))
                if number >= most:
                    break
            self.cuts += not self.ended


def followed(
    run_id: str, pair: tuple[Product, ...], *troubles: tuple[int, Callable[[], None]]
) -> Follower:
    """Follow a run to its end, a piece here and a piece there, with trouble after some events."""
    dice, follower, ahead = random.Random(3), Follower(run_id), list(troubles)
    while not follower.ended:
        if ahead and len(follower.numbers) >= ahead[0][0]:
            ahead.pop(0)[1]()
        follower.read(dice.choice(pair), dice.randrange(1, 8))
    return follower


def test_a_run_is_told_whole_through_cuts_kills_and_an_emptied_redis(
    pair: tuple[Product, Product],
) -> None:
    running, other = pair

    def kill() -> None:
        other.kill("web-2")
        other.start("web-2")  # until it answers the follower asks in vain, or the first

    def forget() -> None:
        with redis.Redis.from_url(running.environment["REDIS_URL"]) as client:
            client.flushall()

    run_id = running.run("bugfix", WORKING)
    follower = followed(run_id, pair, (20, kill), (50, forget))
    assert follower.cuts > 15
    expected = [int(event["id"]) for event in running.events(run_id)]
    assert expected == list(range(1, len(expected) + 1))
    assert len(expected) > 80
    assert follower.numbers == expected
    other.ready()
    assert followed(run_id, pair).numbers == expected  # after the end


def test_a_killed_web_process_loses_nothing_of_an_open_stream(
    pair: tuple[Product, Product],
) -> None:
    running, other = pair
    run_id = running.run("bugfix", HELD)
    follower = Follower(run_id)
    connection = opened(other, f"/v1/events/stream?run_id={run_id}")
    told = received(connection, b'"tool_call_end"')
    other.kill("web-2")
    (running.folder / "data" / "workspaces" / run_id / "tree" / "go").touch()
    with suppress(ConnectionError):
        told += received(connection, b"event: end")
    connection.close()
    lines = told.partition(b"\r\n\r\n")[2].rpartition(b"\n\n")[0] + b"\n\n"
    for position, event in frames(iter(lines.decode().split("\n"))):
        follower.last = position
        if event["type"] not in UNNUMBERED:
            follower.numbers.append(int(position or ""))
    assert not follower.ended
    assert b"event: end" not in told
    follower.read(running, 100_000)
    assert follower.numbers == [int(event["id"]) for event in running.events(run_id)]


def test_who_reads_too_slowly_is_cut_off_told_so_and_may_resume(running: Product) -> None:
    run_id = running.run("bugfix", scripted("Talk", FIX=[{"chunks": 3000, "chunk": LARGE}]))
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(30)
        connection.connect(("127.0.0.1", running.port))
        path = f"/v1/events/stream?run_id={run_id}"
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: here\r\n\r\n".encode())
        until(lambda: "slow client cut off" in running.log("web"))
        told = received(connection, b": too slow, resume with Last-Event-ID")
        assert connection.recv(10).strip() == b""
    ids = [line for line in told.split(b"\n") if line.startswith(b"id: ")]
    follower = Follower(run_id)
    follower.last = ids[-1].removeprefix(b"id: ").decode()
    known = int(follower.last.partition(".")[0])
    while not follower.ended:
        follower.read(running, 100_000)
    expected = [int(event["id"]) for event in running.events(run_id)]
    assert follower.numbers == expected[known:]


def test_who_has_said_all_it_has_to_say_goes_on_listening(running: Product) -> None:
    run_id = running.run("bugfix", WORKING)
    with opened(running, f"/v1/events/stream?run_id={run_id}") as connection:
        connection.shutdown(socket.SHUT_WR)
        assert b"run_complete" in received(connection, b"event: end")


def test_the_log_has_one_line_for_a_stream(running: Product) -> None:
    run_id = running.run("bugfix", "x")
    running.ended(run_id)
    with opened(running, f"/v1/events/stream?run_id={run_id}&since=0") as connection:
        received(connection, b"event: end")
    lines = [json.loads(line) for line in running.log("web").splitlines()]
    about = [line for line in lines if run_id in line.get("query", "")]
    assert [line["status"] for line in about] == [200]
