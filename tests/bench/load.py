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


def request(method: str, path: str, body: Mapping[str, Any] | None = None) -> bytes:
    """An HTTP/1.1 request as bytes."""
    content = b"" if body is None else json.dumps(body).encode()
    head = f"{method} {path} HTTP/1.1\r\nHost: bench\r\nContent-Length: {len(content)}\r\n"
    return head.encode() + b"Content-Type: application/json\r\n\r\n" + content


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
        parts = urlsplit(url)
        self.socket = socket.create_connection((parts.hostname, parts.port), timeout=60)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
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


def _fields(head: bytes) -> Iterator[tuple[str, str]]:
    for line in head.decode().split("\r\n")[1:]:
        name, _, value = line.partition(": ")
        yield name.lower(), value
