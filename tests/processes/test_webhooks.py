"""GitHub and the whole product: too much, unsigned, twice, and while nobody was there."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.processes.product import Product, product, until
from tests.processes.test_web import received
from tests.servers import github_events as told
from tests.servers.github import Github, signed

MEBIBYTE = 1024 * 1024


@pytest.fixture
def running(github: Github, tmp_path: Path) -> Iterator[Product]:
    with product(tmp_path) as started:
        github.hook_url = f"{started.url}/v1/github/webhooks"
        yield started


def posted(running: Product, headers: str, *pieces: bytes) -> bytes:
    """The first line of the answer to a body sent piece by piece."""
    head = "POST /v1/github/webhooks HTTP/1.1\r\nHost: here\r\nX-GitHub-Event: push\r\n"
    with socket.create_connection(("127.0.0.1", running.port), timeout=30) as connection:
        connection.sendall(f"{head}X-GitHub-Delivery: d\r\n{headers}\r\n\r\n".encode())
        try:
            for piece in pieces:
                connection.sendall(piece)
        except OSError:
            pass  # it has heard enough; what it says can still be read
        return received(connection, b"\r\n").partition(b"\r\n")[0]


def memory(running: Product) -> int:
    """MiB that the web processes hold."""
    parent = running.processes["web"].pid
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    status = [Path(f"/proc/{pid}/status").read_text() for pid in (parent, *children)]
    lines = [line for text in status for line in text.splitlines() if line.startswith("VmRSS")]
    return sum(int(line.split()[1]) for line in lines) // 1024


def events(running: Product) -> dict[str, bool]:
    """The deliveries that were kept, and whether all they entail is done."""
    told = running.get("/webhooks/events", limit=500)["events"]
    return {event["delivery_id"]: event["processed"] for event in told}


def test_too_much_is_refused_and_the_unsigned_is_never_held_in_memory(running: Product) -> None:
    chunk = b"100000\r\n" + b" " * MEBIBYTE + b"\r\n"
    chunked = [chunk] * 26 + [b"0\r\n\r\n"]
    assert b"413" in posted(running, "Transfer-Encoding: chunked", *chunked)
    assert b"413" in posted(running, f"Content-Length: {26 * MEBIBYTE}", b" ")
    before = memory(running)
    body = [b" " * MEBIBYTE] * 24
    with ThreadPoolExecutor(8) as many:
        asked = [
            many.submit(posted, running, f"Content-Length: {24 * MEBIBYTE}", *body)
            for _ in range(16)
        ]
        assert all(b"401" in answer.result() for answer in asked)
    assert memory(running) < before + 40
    assert events(running) == {}


def test_the_same_delivery_ten_times_at_once_while_workers_die_is_done_once(
    running: Product, github: Github
) -> None:
    payload = told.issues("labeled", added="bug")
    with ThreadPoolExecutor(10) as many:
        asked = [many.submit(github.deliver, "issues", payload, "d-1") for _ in range(10)]
        running.kill("short")
        assert [answer.result() for answer in asked] == [200] * 10
    running.start("short")
    until(lambda: events(running) == {"d-1": True})
    body = json.dumps(payload).encode()
    headers = signed(body) | {"X-GitHub-Event": "issues", "X-GitHub-Delivery": "d-1"}
    again = running.client.post("/v1/github/webhooks", content=body, headers=headers)
    assert again.json()["status"] == "duplicate"


def test_what_came_while_everything_was_down_arrives_when_it_is_back(
    running: Product, github: Github
) -> None:
    for name in list(running.processes):
        running.kill(name)
    guids = [f"down-{number}" for number in range(12)]
    for guid in guids:
        assert github.deliver("issues", told.issues(), guid) == 0
    running.start("web", "short")
    running.ready()
    running.start("clock")
    until(lambda: events(running) == dict.fromkeys(guids, True), 60)
    assert len([path for path in github.asked if path.endswith("/attempts")]) == len(guids)
