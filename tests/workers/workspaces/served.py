"""A repository served over HTTP on the loopback, with a password if wanted."""

from __future__ import annotations

import base64
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class _Files(SimpleHTTPRequestHandler):
    """Git's plain ("dumb") protocol is files."""

    def do_GET(self) -> None:
        server = self.server
        server.asked.append(self.path)
        if server.away:
            self.send_error(503)
            return
        if server.elsewhere:
            self.send_response(302)
            self.send_header("Location", server.elsewhere + self.path)
            self.end_headers()
            return
        expected = (
            server.password
            and base64.b64encode(f"x-access-token:{server.password}".encode()).decode()
        )
        if expected and self.headers.get("Authorization") != f"Basic {expected}":
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="git"')
            self.end_headers()
            return
        super().do_GET()

    def log_message(self, *_: object) -> None:
        return None


@contextmanager
def serving(
    folder: Path, password: str | None = None, elsewhere: str | None = None
) -> Iterator[ThreadingHTTPServer]:
    """Serve a folder; `asked` has the paths that were asked for, `url` where it is.

    While it is `away` it answers all with 503.
    """
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Files, directory=str(folder)))
    server.asked, server.password, server.elsewhere = [], password, elsewhere
    server.away = False
    server.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
