"""Everybody who listens to this process: who follows what, and what each has yet to hear.

Frames go straight from whoever has them to the sockets, which never block: no greenlet, thread or
queue belongs to a client. A client is either up to date and hears what happens at once, or behind:
then a few catchers fetch for it what Postgres and Redis have, a batch whenever it has taken the
last one, while what happens meanwhile is held for it. Whoever touches a listener holds `lock`,
and nobody waits for anything while holding it.
"""

from __future__ import annotations

import select
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Collection, Hashable, Iterable
from typing import Any, Protocol

from gevent import monkey

from models.logs import log
from models.principals import Principal
from web import frames
from web.connections import HELD_FRAMES, Connection
from web.items import Item, Topic

CATCHERS = 4  # who are behind are served so many at a time
TICK_SECONDS = 0.1
BEATS = 200  # signs of life in a tick, so that they spread
OUT, GONE, SILENT, EDGE = 0x004, 0x018, 0x2000, 1 << 31  # EPOLLOUT; HUP, ERR; RDHUP; EPOLLET
FAREWELL = frames.comment("the server restarts; connect again with Last-Event-ID")


class Stream(Protocol):
    """What one client follows and how far it has got."""

    topic: str | None  # a run, or everything
    topics: Collection[Topic]  # what it hears of; once it has joined, only `follow` changes them
    principal: Principal
    seq: int  # the last numbered event that was sent
    behind: bool  # it needs what only Postgres or Redis can tell
    over: bool  # nothing more will be sent
    unsure: bool  # it asked in vain and may lack something, if only its end: a recheck reminds it

    def deliver(self, item: Item) -> bytes:
        """The frames for what just happened; asks nobody. May find that it is behind."""

    def place(self) -> Hashable:
        """Streams at equal places, if not None, miss the same: one of them asks for all."""

    def catch_up(self) -> bytes:
        """The next batch of what was missed; asks Postgres and Redis."""

    def catch_up_like(self, other: Any) -> None:
        """Be where `other` is, which was at the same place and has caught up."""


class Listener:
    """One client."""

    __slots__ = ("beats", "connection", "due", "held", "lost", "stream", "waiting")

    def __init__(self, stream: Stream, fd: int) -> None:
        self.stream = stream
        self.connection = Connection(fd)
        self.held: list[Item] | None = []  # what happens while it is behind; None: up to date
        self.lost = False  # more happened than is held
        self.waiting = False  # for a catcher, or in the hands of one
        self.due = 0.0
        self.beats = 0

    @property
    def here(self) -> bool:
        return self.connection.fd >= 0


class Audience:
    """The listeners of a process; one thread while there are any, and catchers as needed."""

    def __init__(self) -> None:
        self.beat_seconds = 15.0  # how often a client hears that it is still connected
        self.lock = threading.Lock()
        self._by_topic: dict[Topic, set[Listener]] = {}
        self._by_fd: dict[int, Listener] = {}
        self._epoll: Any = None
        self._beating: deque[Listener] = deque()
        self._behind: OrderedDict[Hashable, list[Listener]] = OrderedDict()
        self._catchers = 0

    def __len__(self) -> int:
        return len(self._by_fd)

    def join(self, listener: Listener, opening: bytes) -> None:
        """Follow from this moment on, beginning with `opening` and what the stream has missed."""
        with self.lock:
            connection = listener.connection
            self._enter(listener)
            self._by_fd[connection.fd] = listener
            if self._epoll is None:
                self._epoll = monkey.get_original("select", "epoll")()
                _thread(self._pump, "stream-pump")
            self._epoll.register(connection.fd, OUT | SILENT | EDGE)
            listener.due = time.monotonic() + self.beat_seconds
            self._beating.append(listener)
            connection.send(opening)
            if connection.flush():
                self._queue(listener)
            else:
                self._leave(listener)

    def listeners(self) -> list[Listener]:
        """All of them, as of now."""
        with self.lock:
            return list(self._by_fd.values())

    def hearing(self, topics: Iterable[Topic]) -> set[Listener]:
        """Who hears of any of these."""
        with self.lock:
            return self._hearing(topics)

    def follow(self, listener: Listener, topics: Collection[Topic]) -> None:
        """Have one hear of these topics from now on."""
        with self.lock:
            if listener.here:
                self._forget(listener)
                listener.stream.topics = topics
                self._enter(listener)

    def hand_out(self, items: Iterable[Item]) -> None:
        """Let everybody hear who follows."""
        with self.lock:
            touched: set[Listener] = set()
            for item in items:
                hearing = self._hearing(item.topics)
                for listener in hearing:
                    self._hear(listener, item)
                touched |= hearing
            for listener in touched:
                self._push(listener)

    def tell(self, listener: Listener, item: Item) -> None:
        """Let one hear, if it is still here."""
        with self.lock:
            if listener.here:
                self._hear(listener, item)
                self._push(listener)

    def dismiss(self, listeners: Iterable[Listener], word: bytes = b"") -> None:
        """End their streams, with a last word."""
        with self.lock:
            for listener in listeners:
                if listener.here:
                    listener.connection.send(word)
                    listener.connection.flush()
                    self._leave(listener)

    def _enter(self, listener: Listener) -> None:
        for topic in listener.stream.topics:
            self._by_topic.setdefault(topic, set()).add(listener)

    def _forget(self, listener: Listener) -> None:
        for topic in listener.stream.topics:
            self._by_topic[topic].discard(listener)
            if not self._by_topic[topic]:
                del self._by_topic[topic]

    def _hearing(self, topics: Iterable[Topic]) -> set[Listener]:
        return set[Listener]().union(*(self._by_topic.get(topic, ()) for topic in topics))

    def _hear(self, listener: Listener, item: Item) -> None:
        stream = listener.stream
        if listener.held is not None:
            if len(listener.held) < HELD_FRAMES:
                listener.held.append(item)
            else:
                listener.held.clear()
                listener.lost = True
            return
        try:
            listener.connection.send(stream.deliver(item))
        except Exception:  # nobody else may go deaf of it; who is cut off comes again
            log.exception("stream broke", run=stream.topic)
            listener.connection.last = True
            return
        if stream.over:
            listener.connection.last = True
        elif stream.behind:
            listener.held = []
            self._queue(listener)

    def _push(self, listener: Listener) -> None:
        """Write what the client takes; what it does not take in time is cut off."""
        if not listener.here:
            return
        connection = listener.connection
        if not connection.flush():
            self._leave(listener)
        elif listener.held is None:
            if connection.too_slow:
                self._cut_off(listener)
        elif connection.idle and not listener.waiting:
            self._settle(listener)

    def _settle(self, listener: Listener) -> None:
        """It has taken its last batch: end, fetch the next one, or hear what happened since."""
        stream = listener.stream
        if listener.lost:
            stream.behind, listener.lost = True, False
        if stream.over:
            listener.connection.last = True
        elif stream.behind:
            self._queue(listener)
            return
        held, listener.held = listener.held or [], None
        for item in held:
            self._hear(listener, item)
        self._push(listener)

    def _queue(self, listener: Listener) -> None:
        listener.waiting = True
        self._behind.setdefault(listener.stream.place() or listener, []).append(listener)
        if self._catchers < CATCHERS:
            self._catchers += 1
            _thread(self._catch_up, "stream-catcher")

    def _catch_up(self) -> None:
        while group := self._next():
            piece = None
            try:
                piece = group[0].stream.catch_up()
            except Exception:  # ends its clients' streams, who come again; others wait for us
                log.exception("stream broke", run=group[0].stream.topic)
            self._caught_up(group, piece)

    def _next(self) -> list[Listener]:
        with self.lock:
            while self._behind:
                _, group = self._behind.popitem(last=False)
                if group := [listener for listener in group if listener.here]:
                    return group
            self._catchers -= 1
            return []

    def _caught_up(self, group: list[Listener], piece: bytes | None) -> None:
        with self.lock:
            for listener in reversed(group):  # the first comes last: its push leads it on
                listener.waiting = False
                if piece is None:
                    self._leave(listener)
                elif listener.here:
                    if listener is not group[0]:
                        listener.stream.catch_up_like(group[0].stream)
                    listener.connection.send(piece)
                    self._push(listener)

    def _pump(self) -> None:
        """Go on with those who take again what they did not take at once; forget who is gone."""
        while True:
            ready, _, _ = select.select([self._epoll], [], [], TICK_SECONDS)
            with self.lock:
                for fd, event in self._epoll.poll(0) if ready else ():
                    self._stirred(fd, event)
                self._beat(time.monotonic())
                if not self._by_fd:
                    self._epoll.close()
                    self._epoll = None
                    self._beating.clear()
                    return

    def _stirred(self, fd: int, event: int) -> None:
        if (listener := self._by_fd.get(fd)) is None:
            return
        if event & SILENT and not event & GONE:  # it says no more, but may listen: a word tells
            self._epoll.modify(fd, OUT | EDGE)
            listener.connection.send(frames.comment("heartbeat"))
        (self._leave if event & GONE else self._push)(listener)

    def _beat(self, now: float) -> None:
        for _ in range(min(BEATS, len(self._beating))):
            if self._beating[0].due > now:
                return
            listener = self._beating.popleft()
            if listener.here:
                self._show_life(listener, now)

    def _show_life(self, listener: Listener, now: float) -> None:
        connection = listener.connection
        if connection.last:  # it did not even take its farewell
            self._leave(listener)
            return
        if connection.stalled(now):
            self._cut_off(listener)
        elif connection.idle and listener.held is None:
            listener.beats += 1
            beat = frames.HEARTBEAT if listener.beats % 2 == 0 else b""
            connection.send(frames.comment("heartbeat") + beat)
            self._push(listener)
        listener.due = now + self.beat_seconds
        self._beating.append(listener)

    def _cut_off(self, listener: Listener) -> None:
        log.info("slow client cut off", run=listener.stream.topic)
        listener.connection.cut_off()
        if not listener.connection.flush():
            self._leave(listener)

    def _leave(self, listener: Listener) -> None:
        if not listener.here:
            return
        self._forget(listener)
        del self._by_fd[listener.connection.fd]
        self._epoll.unregister(listener.connection.fd)
        listener.connection.close()
        listener.held = []


def _thread(work: Callable[[], None], name: str) -> None:
    threading.Thread(target=work, daemon=True, name=name).start()
