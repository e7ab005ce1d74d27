"""The answer whose socket is handed over: its request ends, the audience goes on writing."""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Iterable, Iterator
from typing import Any

from flask import Response
from gunicorn.workers.base_async import ALREADY_HANDLED
from werkzeug.http import http_date
from werkzeug.wsgi import ClosingIterator

from web import frames
from web.audience import Stream
from web.feed import Feed

OPENING = frames.RETRY + frames.comment("connected")


class Streaming(Response):
    """Server-sent events that proxies do not hold back; raises what `Feed.admit` does.

    The body ends where the connection does. A stream costs its process one object and one socket,
    no greenlet: at 5,000 clients that decides.
    """

    automatically_set_content_length = False  # the body seems empty: clients would stop at once

    def __init__(self, feed: Feed, stream: Stream) -> None:
        feed.admit(stream.principal)
        super().__init__(mimetype="text/event-stream")
        self.headers["Cache-Control"] = "no-cache"
        self.headers["X-Accel-Buffering"] = "no"
        self._feed = feed
        self._stream = stream

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """Give the socket to the audience; a server that keeps its own gets one end of a pair."""
        if environ["REQUEST_METHOD"] == "HEAD":
            return super().__call__(environ, start_response)
        bare = environ.get("gunicorn.socket")
        if bare is not None and not isinstance(bare, ssl.SSLSocket):
            copy = os.dup(bare.fileno())  # gunicorn closes its own
            # else up to megabytes; with less, a replay waits for its client's acknowledgements
            bare.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 19)
            self._feed.join(self._stream, copy, self._head(environ) + OPENING)
            handled: Iterable[bytes] = ALREADY_HANDLED
            return handled
        ours, theirs = socket.socketpair()
        start_response(self.status, self.get_wsgi_headers(environ).to_wsgi_list())
        self._feed.join(self._stream, ours.detach(), OPENING)
        return ClosingIterator(_received(theirs), theirs.close)

    def _head(self, environ: dict[str, Any]) -> bytes:
        fields = [*self.get_wsgi_headers(environ), ("Date", http_date()), ("Connection", "close")]
        lines = [f"HTTP/1.1 {self.status}", *(f"{name}: {value}" for name, value in fields)]
        return "\r\n".join([*lines, "", ""]).encode("latin-1")


def _received(end: socket.socket) -> Iterator[bytes]:
    while piece := end.recv(1 << 16):
        yield piece
