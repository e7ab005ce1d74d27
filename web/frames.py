"""Server-sent events as bytes (the WHATWG format)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from models.base import encoded

RETRY = b"retry: 3000\n\n"
HEARTBEAT = b'event: heartbeat\ndata: {"status":"connected"}\n\n'
END = b'event: end\ndata: {"status":"ended"}\n\n'


def frame(
    payload: Mapping[str, Any], position: str | None = None, event: str | None = None
) -> bytes:
    """One event: JSON on a single data line; the id that resumes after it, a name of its own."""
    name = b"" if event is None else b"event: " + event.encode() + b"\n"
    head = b"" if position is None else b"id: " + position.encode() + b"\n"
    return name + head + b"data: " + encoded(payload) + b"\n\n"


def comment(text: str) -> bytes:
    """A line that clients skip and proxies pass on."""
    return b": " + " ".join(text.splitlines()).encode() + b"\n\n"
