"""A server on the loopback that stands for the world outside and answers as each test says."""

from __future__ import annotations

import ssl
import sys
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

import orjson


@dataclass(frozen=True)
class Received:
    """A request as it arrived; header names are in lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True)
class Answer:
    """What to say: a dict is sent as JSON, chunks are sent one after the other as they come."""

    body: Any = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)

    def chunks(self) -> Iterable[bytes]:
        if isinstance(self.body, dict | list):
            return [orjson.dumps(self.body)]
        return [self.body] if isinstance(self.body, bytes) else self.body


class Outside:
    """The server; a context manager. `answer` says what to reply to whom."""

    def __init__(self, answer: Callable[[Received], Answer], tls: ssl.SSLContext | None = None):
        self.answer = answer
        self.requests: list[Received] = []
        self.connections = 0
        self._server = _Server(("127.0.0.1", 0), _Conversation)
        self._server.outside = self
        self._scheme = "https" if tls else "http"
        if tls:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)

    @property
    def port(self) -> int:
        return self._server.server_port

    @property
    def url(self) -> str:
        return self.called("127.0.0.1")

    def called(self, host: str) -> str:
        """Where it listens, by another name."""
        return f"{self._scheme}://{host}:{self.port}"

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    outside: Outside

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is part of the story; a fault of ours is not."""
        if not isinstance(sys.exc_info()[1], OSError):
            raise


class _Conversation(BaseHTTPRequestHandler):
    server: _Server

    def setup(self) -> None:
        self.server.outside.connections += 1
        super().setup()

    def do_GET(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        received = Received(self.command, self.path, headers, self.rfile.read(length))
        self.server.outside.requests.append(received)
        answer = self.server.outside.answer(received)
        self.send_response(answer.status)
        for name, value in {"Content-Type": "application/json", **answer.headers}.items():
            self.send_header(name, value)
        self.end_headers()
        for chunk in answer.chunks():
            self.wfile.write(chunk)

    do_POST = do_GET

    def log_message(self, format: str, *args: Any) -> None:
        """Silence: the requests are kept."""
