"""A client's connection: a socket that nobody waits for, and what it has yet to take."""

from __future__ import annotations

import os
import time

from web import frames

HELD_FRAMES = 1_000  # frames that a client may fall behind
HELD_BYTES = 256 * 1024
AT_ONCE = 64  # frames in one system call
STALLED_SECONDS = 30.0
TOO_SLOW = frames.comment("too slow, resume with Last-Event-ID")


class Connection:
    """Owns a file descriptor. Frames are shared: it holds references, never copies."""

    __slots__ = ("_begun", "_frames", "_moved", "_size", "fd", "last")

    def __init__(self, fd: int) -> None:
        os.set_blocking(fd, False)
        self.fd = fd
        self.last = False  # nothing follows what it holds
        self._frames: list[bytes] = []
        self._size = 0
        self._begun = False  # a part of the first frame has been sent
        self._moved = 0.0  # when it last took something

    @property
    def idle(self) -> bool:
        """Whether it has taken all."""
        return not self._frames

    @property
    def too_slow(self) -> bool:
        """Whether it has fallen behind further than we hold anything for it."""
        return self._size > HELD_BYTES or len(self._frames) > HELD_FRAMES

    def stalled(self, now: float) -> bool:
        """Whether something waits that it has not touched for long."""
        return not self.idle and now - self._moved > STALLED_SECONDS

    def send(self, piece: bytes) -> None:
        """Keep whole frames for the next `flush`."""
        if not piece or self.last:
            return
        if not self._frames:
            self._moved = time.monotonic()
        self._frames.append(piece)
        self._size += len(piece)

    def cut_off(self) -> None:
        """Forget all but the frame that is on its way, say why, and end."""
        self._frames = self._frames[:1] if self._begun else []
        self._size = sum(map(len, self._frames))
        self.send(TOO_SLOW)
        self.last = True

    def flush(self) -> bool:
        """Write as much as the socket takes; False when it is over: gone, or all is said."""
        while self._frames:
            try:
                written = os.writev(self.fd, self._frames[:AT_ONCE])
            except BlockingIOError:
                return True
            except OSError:  # the client went away: broken pipe, reset, timed out
                return False
            self._took(written)
        return not self.last

    def close(self) -> None:
        """Give the socket back; what waits is forgotten."""
        os.close(self.fd)
        self.fd = -1
        self._frames = []

    def _took(self, written: int) -> None:
        self._size -= written
        self._moved = time.monotonic()
        if not self._size:
            self._frames.clear()
            self._begun = False
            return
        whole = 0
        while written >= len(self._frames[whole]):
            written -= len(self._frames[whole])
            whole += 1
        del self._frames[:whole]
        self._begun = written > 0
        if written:
            self._frames[0] = self._frames[0][written:]
