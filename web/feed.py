"""The live stream, read once per process and handed to every client that listens."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import peewee
import redis
from playhouse.pool import MaxConnectionsExceeded

from models import runs, streams
from models.accounts import Principal
from models.base import db
from models.logs import log
from models.runs import Run
from web.positions import Entry, entry_of, written

HELD = 1_000  # items a client may fall behind
TAKEN = 100  # items sent in one piece
BLOCK_MS = 1_000
AWAY = (peewee.OperationalError, peewee.InterfaceError, MaxConnectionsExceeded)


class Item:
    """An entry of the stream, shared by all clients; without a body it says: look for yourself."""

    __slots__ = ("body", "entry", "rendered")

    def __init__(self, entry: Entry, body: dict[str, Any] | None = None) -> None:
        self.entry = entry
        self.body = body
        self.rendered: dict[Any, bytes] = {}  # frames that several clients send alike


NUDGE = Item((0, 0))
GAP = Item((0, 0), {"type": "stream_gap", "run": None, "seq": None, "owner": None, "data": {}})


class Inbox:
    """What one client has yet to send; `seen` is the last numbered event it has sent."""

    def __init__(self, run_id: str | None) -> None:
        self.run_id = run_id
        self.seen = 0
        self.overflowed = False
        self.closed = False
        self._items: queue.Queue[Item] = queue.Queue(HELD)

    def put(self, item: Item) -> None:
        try:
            self._items.put_nowait(item)
        except queue.Full:
            self.overflowed = True

    def take(self, timeout: float) -> list[Item]:
        """What has arrived, waiting up to `timeout` seconds for the first."""
        try:
            items = [self._items.get(timeout=max(timeout, 0.001))]
        except queue.Empty:
            return []
        while len(items) < TAKEN and not self._items.empty():
            items.append(self._items.get_nowait())
        return items

    def idle(self) -> bool:
        return self._items.empty()

    def close(self) -> None:
        """End the stream at its next turn."""
        self.closed = True
        self.put(NUDGE)


class Feed:
    """Threads run while somebody listens; nothing is opened before."""

    def __init__(self, redis_url: str | None) -> None:
        self.redis_url = redis_url
        self.recheck_seconds = 2.0
        self.beat_seconds = 15.0  # how often a client hears that it is still connected
        self._lock = threading.Lock()
        self._listening: dict[str | None, set[Inbox]] = {}
        self._position: Entry | None = None
        self._turn: object | None = None  # which pair of threads is at work; None when none is
        self._closing = False
        self._counts: dict[str | None, tuple[float, int]] = {}

    @contextmanager
    def listening(self, run_id: str | None) -> Iterator[Inbox]:
        """An inbox of everything, or of one run, from this moment on."""
        inbox = Inbox(run_id)
        if self._closing:
            inbox.close()
        with self._lock:
            self._listening.setdefault(run_id, set()).add(inbox)
            starting = self._turn is None
            turn = self._turn = self._turn or object()
        if starting:
            self._start(turn)
        try:
            yield inbox
        finally:
            with self._lock:
                self._listening[run_id].discard(inbox)
                if not self._listening[run_id]:
                    del self._listening[run_id]

    def close(self) -> None:
        """End every stream: this process is about to stop."""
        self._closing = True
        for inbox in self._inboxes():
            inbox.close()

    def since(self, entry: Entry, limit: int) -> list[Item]:
        """The entries after one, oldest first; the newest `limit` if there are more."""
        rows = self._client().xrevrange(streams.KEY, "+", f"({written(entry)}", count=limit)
        return items_of(reversed(rows))

    def holds(self, entry: Entry) -> bool:
        """Whether everything after this entry is still in Redis."""
        oldest = self._client().xrange(streams.KEY, count=1)
        return bool(oldest) and entry_of(oldest[0][0].decode()) <= entry

    def answers(self) -> bool:
        """Whether Redis is there."""
        return streams.answers(self.redis_url)

    def running_runs(self, principal: Principal) -> int:
        """How many runs that the caller may see are running, at most a second old."""
        key = None if principal.is_admin else principal.id
        at, count = self._counts.get(key, (0.0, 0))
        if time.monotonic() - at > 1:
            with db.connection_context():
                mine = Run.visible_to(principal).where(Run.state == runs.RUNNING)
                count = mine.count()
            self._counts[key] = (time.monotonic(), count)
        return count

    def _client(self) -> Any:
        return streams.client(self.redis_url or "")

    def _inboxes(self) -> list[Inbox]:
        with self._lock:
            return [inbox for group in self._listening.values() for inbox in group]

    def _start(self, turn: object) -> None:
        """Pin the position before the first listener hears `connected`, then read on from it."""
        if self.redis_url:
            self._pin()
            threading.Thread(
                target=self._read, args=(turn,), daemon=True, name="stream-reader"
            ).start()
        threading.Thread(
            target=self._recheck, args=(turn,), daemon=True, name="stream-recheck"
        ).start()

    def _pin(self) -> None:
        try:
            newest = self._client().xrevrange(streams.KEY, count=1)
        except redis.RedisError as error:
            log.warning("live stream unavailable", error=str(error))
            return
        self._position = entry_of(newest[0][0].decode()) if newest else (0, 0)

    def _goes_on(self, turn: object) -> bool:
        """Whether anybody still listens; the threads end when not, and others begin later."""
        with self._lock:
            if self._turn is turn and not self._listening:
                self._turn = self._position = None
            return self._turn is turn

    def _read(self, turn: object) -> None:
        interrupted = False
        while self._goes_on(turn):
            if self._position is None:
                self._pin()
            try:
                if interrupted and self._position and not self.holds(self._position):
                    self._hand_out([GAP])
                interrupted = False
                self._read_on(turn)
            except redis.RedisError as error:
                log.warning("live stream interrupted", error=str(error))
                interrupted = True
                time.sleep(1)

    def _read_on(self, turn: object) -> None:
        position = {streams.KEY: written(self._position or (0, 0))}
        for _, entries in self._client().xread(position, count=500, block=BLOCK_MS) or []:
            items = items_of(entries)
            if not self._goes_on(turn):
                return
            self._hand_out(items)
            self._position = items[-1].entry

    def _hand_out(self, items: Iterable[Item]) -> None:
        with self._lock:
            groups = {key: list(group) for key, group in self._listening.items()}
        for item in items:
            run_id = (item.body or {}).get("run")
            for inbox in groups.get(None, ()):
                inbox.put(item)
            if run_id is not None:
                for inbox in groups.get(run_id, ()):
                    inbox.put(item)

    def _recheck(self, turn: object) -> None:
        """Ask Postgres, in one query, whether a followed run went on without us hearing of it."""
        while self._goes_on(turn):
            time.sleep(self.recheck_seconds)
            idle = [inbox for inbox in self._inboxes() if inbox.run_id and inbox.idle()]
            followed = {inbox.run_id for inbox in idle}
            if not followed:
                continue
            try:
                with db.connection_context():
                    rows: Any = Run.select(Run.id, Run.event_seq).where(Run.id.in_(followed))
                    numbers = dict(rows.tuples())
            except AWAY as error:
                log.warning("recheck skipped", error=str(error).strip())
                continue
            for inbox in idle:
                if numbers.get(inbox.run_id, inbox.seen + 1) > inbox.seen:
                    inbox.put(NUDGE)


def items_of(entries: Iterable[tuple[bytes, Any]]) -> list[Item]:
    """Stream entries as items."""
    return [Item(entry_of(body.pop("entry")), body) for body in streams.decoded(entries)]
