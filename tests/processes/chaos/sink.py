"""The world outside: counts every act that reaches it."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.processes.chaos.mind import COUNTED


class Sink:
    """An HTTP server on the loopback; a context manager."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.latest: dict[str, float] = {}  # of each run, when it last acted
        self.on_act: Callable[[int], bool] | None = None  # told a caller's port until it is content
        self._lock = threading.Lock()
        self._telling = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), _Door)
        self._server.sink = self

    @property
    def port(self) -> int:
        return self._server.server_port

    def known(self, key: str) -> bool:
        """Whether the act has been done."""
        return key in self.counts

    def doubles(self) -> dict[str, int]:
        """The acts that were done more than once."""
        with self._lock:
            return {key: count for key, count in self.counts.items() if count > 1}

    def count(self, key: str, port: int) -> None:
        with self._lock:
            self.counts[key] += 1
            self.latest[key.partition(":")[0]] = time.time()
            notice = self.on_act
        if notice:
            with self._telling:
                if self.on_act is notice and notice(port):
                    self.on_act = None

    def __enter__(self) -> Sink:
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128
    sink: Sink

    def handle_error(self, request: object, client_address: object) -> None:
        """A caller that was killed."""


class _Door(BaseHTTPRequestHandler):
    server: _Server

    def do_POST(self) -> None:
        self.server.sink.count(self.path.removeprefix("/act/"), self.client_address[1])
        self.send_response(200)
        self.end_headers()
        self.wfile.write(f"{COUNTED}\n".encode())

    def log_message(self, *_: object) -> None:
        """Quiet."""
