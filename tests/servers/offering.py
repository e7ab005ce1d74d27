"""A provider on the loopback that lists its models, as told, to whoever asks."""

from __future__ import annotations

import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self


class Offering:
    """The server; a context manager. `body` is what it says, after `delay` seconds."""

    def __init__(self) -> None:
        self.body: bytes = b'{"data": []}'
        self.status = 200
        self.headers: dict[str, str] = {}
        self.delay = 0.0
        self.asked: list[tuple[str, str | None]] = []  # paths and what opened them
        offering = self

        class Desk(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                offering.asked.append((self.path, self.headers["Authorization"]))
                time.sleep(offering.delay)
                self.send_response(offering.status)
                for name, value in offering.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(offering.body)))
                self.end_headers()
                self.wfile.write(offering.body)

            def log_message(self, *_: object) -> None:
                """Quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Desk)
        self._server.daemon_threads = True
        self._server.handle_error = lambda *_: None  # type: ignore[method-assign]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/v1"

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
