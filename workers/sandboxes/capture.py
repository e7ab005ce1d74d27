"""Keeping what a command prints without keeping all of it."""

from __future__ import annotations


class Capture:
    """The first and the last half of at most `limit` bytes, whatever arrives."""

    def __init__(self, limit: int) -> None:
        self._half = max(1, limit // 2)
        self._head = bytearray()
        self._tail = bytearray()
        self._seen = 0

    def add(self, data: bytes) -> None:
        """Take in the next piece."""
        self._seen += len(data)
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
        head, tail = (part.decode(errors="replace") for part in (self._head, self._kept_tail()))
        return f"{head}\n[... {self._seen - 2 * self._half} bytes left out ...]\n{tail}"

    def _kept_tail(self) -> bytearray:
        return self._tail[-self._half :]
