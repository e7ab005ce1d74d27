"""Reading a provider's stream so that a silent socket can neither hold nor outlive the work."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable, Generator, Iterator
from typing import Generic, Protocol, TypeVar

from workers.halting import Halt, Stopped
from workers.llm.base import Unavailable
from workers.llm.lines import Lines

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

LEFT = "nobody waits for the answer any more"
POLL = 0.25  # seconds; deadlines and asynchronous exceptions are noticed this often


class Stream(Protocol[T_co]):
    """What both SDKs hand out: chunks to iterate over."""

    def __iter__(self) -> Iterator[T_co]: ...

    def close(self) -> None: ...


def interruptible(
    begin: Callable[[], Stream[T]], halt: Halt, silence: float, lines: Lines
) -> Generator[T, None, None]:
    """Yield the chunks of the stream that `begin` opens, which may block for long.

    Raises Stopped or DeadlinePassed within a quarter of a second, Unavailable after `silence`
    seconds without a chunk, and whatever reading raised. On leaving its connection, one of the
    `lines`, is cut, even where nothing has come yet: nobody pays for what nobody reads.
    """
    reader = _Reader(begin, lines)
    lines.may_send = lambda: reader.may_send(halt)
    reader.start()
    with contextlib.closing(reader), halt.waking(reader.wake):
        while True:
            item = reader.next(halt, silence)
            if isinstance(item, _Ended):
                return
            if isinstance(item, _Failed):
                raise item.error
            yield item


class _Ended:
    """The stream is over."""


class _Failed:
    """Opening or reading the stream raised."""

    def __init__(self, error: BaseException) -> None:
        self.error = error


class _Woken:
    """Somebody raised the switch: look at it now."""


class _Reader(threading.Thread, Generic[T]):
    """Reads in a thread of its own, because a blocking read cannot be called off from outside."""

    def __init__(self, begin: Callable[[], Stream[T]], lines: Lines) -> None:
        super().__init__(name="model-stream", daemon=True)
        self._begin = begin
        self._lines = lines
        self._chunks: queue.SimpleQueue[T | _Ended | _Failed | _Woken] = queue.SimpleQueue()
        self._left = False
        self._over = False

    def run(self) -> None:
        with contextlib.ExitStack() as stack:
            stack.push(self._hand_over)
            self._read()

    def _hand_over(self, _kind: object, error: BaseException | None, _trace: object) -> bool:
        """How reading ended belongs to the thread that waits for it, so nothing is raised here."""
        self._chunks.put(_Ended() if error is None else _Failed(error))
        return True

    def _read(self) -> None:
        with contextlib.closing(self._begin()) as stream:
            for chunk in stream:
                if self._left:
                    return
                self._chunks.put(chunk)

    def may_send(self, halt: Halt) -> None:
        """Raise unless the work goes on and somebody waits for the answer."""
        halt.check()
        if self._left:
            raise Stopped(LEFT)

    def next(self, halt: Halt, silence: float) -> T | _Ended | _Failed:
        """The next thing read; raises when the work must end or nothing comes."""
        patience = time.monotonic() + silence
        while True:
            halt.check()
            with contextlib.suppress(queue.Empty):
                item = self._chunks.get(timeout=halt.remaining(POLL))
                self._over = isinstance(item, _Ended | _Failed)
                if not isinstance(item, _Woken):
                    return item
            if time.monotonic() > patience:
                raise Unavailable(f"The model said nothing for {silence:g} seconds.")

    def wake(self) -> None:
        self._chunks.put(_Woken())

    def close(self) -> None:
        """Leave: the thread ends as soon as its read returns, which the cut forces."""
        self._left = True
        if not self._over:
            self._lines.cut()
