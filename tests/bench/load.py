"""Closed-loop HTTP load: so many keep-alive connections, each asks as soon as it was answered.

One thread on a selector, raw sockets: the client shares the cores with what it measures, so it
does as little as it can.
"""

from __future__ import annotations

import json
import selectors
import socket
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

SECOND = 1_000_000_000


@dataclass
class Outcome:
    """What a stretch of load came to; latencies are milliseconds."""

    seconds: float = 0.0
    milliseconds: list[float] = field(default_factory=list)
    refused: int = 0  # answers other than 2xx

    @property
    def rate(self) -> float:
        """Good answers per second."""
        return len(self.milliseconds) / self.seconds if self.seconds else 0.0


def request(method: str, path: str, body: Mapping[str, Any] | None = None, **headers: str) -> bytes:
    """An HTTP/1.1 request as bytes; `_` in the name of a header stands for `-`."""
    content = b"" if body is None else json.dumps(body).encode()
    head = f"{method} {path} HTTP/1.1\r\nHost: bench\r\nContent-Length: {len(content)}\r\n"
    head += "".join(f"{name.replace('_', '-')}: {told}\r\n" for name, told in headers.items())
    return head.encode() + b"Content-Type: application/json\r\n\r\n" + content


class Reader:
    """One connection that throws away what it reads, and so takes next to no time itself."""

    def __init__(self, url: str) -> None:
        self.socket = _connected(url)
        self.room = bytearray(1 << 20)

    def ask(self, asked: bytes) -> tuple[int, int, dict[str, str]]:
        """Send a request and read its answer; gives the status, the body's bytes, the headers."""
        self.socket.sendall(asked)
        received = b""
        while b"\r\n\r\n" not in received:
            received += self.socket.recv(1 << 16)
        head, _, body = received.partition(b"\r\n\r\n")
        headers = dict(_fields(head))
        size = int(headers.get("content-length", 0))
        left = size - len(body)
        while left > 0:
            left -= self.socket.recv_into(self.room)
        return int(head[9:12]), size, headers


def storm(url: str, asked: bytes, clients: int, seconds: float) -> Outcome:
    """Send `asked` over `clients` connections for so long; an unanswered one counts for nothing."""
    outcome = Outcome()
    with selectors.DefaultSelector() as selector:
        callers = [_Caller(url, asked) for _ in range(clients)]
        for caller in callers:
            selector.register(caller.socket, selectors.EVENT_READ, caller)
        began = time.perf_counter_ns()
        ends = began + int(seconds * SECOND)
        for caller in callers:
            caller.ask()
        while (now := time.perf_counter_ns()) < ends:
            for key, _ in selector.select((ends - now) / SECOND):
                if key.data.hear(outcome):
                    key.data.ask()
        outcome.seconds = (time.perf_counter_ns() - began) / SECOND
        for caller in callers:
            caller.socket.close()
    return outcome


def once(url: str, asked: bytes) -> tuple[dict[str, str], bytes]:
    """One request; gives the answer's headers (lower case) and body."""
    caller = _Caller(url, asked)
    caller.ask()
    while not caller.hear(Outcome()):
        pass
    caller.socket.close()
    return caller.headers, caller.body


class _Caller:
    """One connection."""

    def __init__(self, url: str, asked: bytes) -> None:
        self.socket = _connected(url)
        self.asked = asked
        self.received = b""
        self.began = 0
        self.headers: dict[str, str] = {}
        self.body = b""

    def ask(self) -> None:
        self.received = b""
        self.began = time.perf_counter_ns()
        self.socket.sendall(self.asked)

    def hear(self, outcome: Outcome) -> bool:
        """Take what has come; whether the answer is whole."""
        piece = self.socket.recv(1 << 18)
        if not piece:
            raise ConnectionError("the server hung up")
        self.received += piece
        head, found, body = self.received.partition(b"\r\n\r\n")
        if not found:
            return False
        self.headers = dict(_fields(head))
        if len(body) < int(self.headers["content-length"]):
            return False
        self.body = body
        if head[9:10] == b"2":
            outcome.milliseconds.append((time.perf_counter_ns() - self.began) / 1e6)
        else:
            outcome.refused += 1
        return True


def _connected(url: str) -> socket.socket:
    parts = urlsplit(url)
    connection = socket.create_connection((parts.hostname, parts.port), timeout=60)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def _fields(head: bytes) -> Iterator[tuple[str, str]]:
    for line in head.decode().split("\r\n")[1:]:
        name, _, value = line.partition(": ")
        yield name.lower(), value
