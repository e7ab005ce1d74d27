"""Keeping what a command prints without keeping all of it."""

from __future__ import annotations

import codecs

from workers.sandboxes.base import Hear

LINE = 4096  # bytes


class Capture:
    """The first and the last half of at most `limit` bytes, whatever arrives.

    `hear` gets all of it as it arrives.
    """

    def __init__(self, limit: int, hear: Hear | None = None) -> None:
        self._hear = hear
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._half = max(1, limit // 2)
        self._head = bytearray()
        self._tail = bytearray()
        self._seen = 0

    def add(self, data: bytes) -> None:
        """Take in the next piece."""
        self._seen += len(data)
        if self._hear is not None:
            self._hear(self._decoder.decode(data))
        room = self._half - len(self._head)
        self._head += data[:room]
        self._tail += data[max(0, room) :]
        if len(self._tail) > 2 * self._half:
            del self._tail[: -self._half]

    @property
    def truncated(self) -> bool:
        return self._seen > 2 * self._half

    @property
    def text(self) -> str:
        """What was kept, with a line that says how much was not."""
        if not self.truncated:
            return (self._head + self._tail).decode(errors="replace")
        head, tail = _whole_lines(self._head, self._kept_tail())
        gap = f"[... {self._seen - len(head) - len(tail)} bytes left out ...]"
        return f"{head.decode(errors='replace')}\n{gap}\n{tail.decode(errors='replace')}"

    def _kept_tail(self) -> bytearray:
        return self._tail[-self._half :]


def _whole_lines(head: bytearray, tail: bytearray) -> tuple[bytearray, bytearray]:
    """Both without the line that the cut is in, unless it is a very long one.

    Half a secret would not be known for one.
    """
    last, first = head.rfind(b"\n", -LINE), tail.find(b"\n", 0, LINE)
    return head[:last] if last >= 0 else head, tail[first + 1 :]
