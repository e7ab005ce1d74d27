"""The sockets of a client, so that a thread blocked on one can be woken from another thread."""

from __future__ import annotations

import contextlib
import socket
import threading
import weakref
from collections.abc import Callable
from typing import Any

import httpx2

CONNECTED = ("connection.connect_tcp.complete", "connection.start_tls.complete")
SENDING = ("send_request_headers.started", "send_request_body.started")


class Lines:
    """Remembers every connection a client makes; `watch` is the client's hook for requests.

    `may_send` is asked last of all before each half of a request leaves, and raises when it must
    not: making one takes time, in which this process may have been stopped and its work taken over.
    """

    def __init__(self) -> None:
        self.may_send: Callable[[], object] = lambda: None
        self._sockets: weakref.WeakSet[socket.socket] = weakref.WeakSet()
        self._lock = threading.Lock()

    def watch(self, request: httpx2.Request) -> None:
        """Hear of the connection that the request will go over."""
        request.extensions["trace"] = self._traced

    def cut(self) -> None:
        """Shut them all: whoever reads or writes there goes on at once, with an error."""
        with self._lock:
            sockets = list(self._sockets)
        for each in sockets:
            hang_up(each)

    def _traced(self, event: str, told: dict[str, Any]) -> None:
        if event.endswith(SENDING):
            self.may_send()
        if event in CONNECTED:
            opened = told["return_value"].get_extra_info("socket")
            if isinstance(opened, socket.socket):
                with self._lock:
                    self._sockets.add(opened)


def hang_up(connection: socket.socket) -> None:
    """Shut the socket down; closing it would not wake a thread that is blocked on it."""
    with contextlib.suppress(OSError):  # it may be gone already
        # Not SSLSocket.shutdown: that would unwrap TLS under the reading thread.
        socket.socket.shutdown(connection, socket.SHUT_RDWR)
