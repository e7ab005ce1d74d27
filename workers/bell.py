"""The consumer that hears: a blocking call that carries the message, and acks that ride along.

Two lists per queue: what waits (`djinn:<queue>`) and what a process holds until it is done
(`djinn:held:<process>:<queue>`). A message is in one of them at any moment, moved by one atomic
command, so kill -9 between any two of them loses nothing: the heartbeat of the dead process ends
and whoever is alive puts back what it held.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import dramatiq
import redis
from dramatiq.broker import Consumer, MessageProxy
from dramatiq.errors import ConnectionClosed, DecodeError

from models.logs import log

if TYPE_CHECKING:
    from workers.broker import BellBroker

BELL_SECONDS = 1  # how long one blocking read lasts, and so how long stopping may take
BEAT_SECONDS = 3.0
PAUSE_SECONDS = 0.5  # between tries while Redis is away or refuses
AHEAD = {"short": 4}  # messages per thread to fetch at once; of long jobs none beyond the threads


class Held(MessageProxy):
    """A message that this process holds, with the bytes that stand for it in Redis."""

    def __init__(self, message: dramatiq.Message[Any], body: bytes) -> None:
        super().__init__(message)
        self.body = body


class BellConsumer(Consumer):
    """Takes messages of one queue, up to `prefetch` at a time, and never raises for Redis.

    `ack` is called by the threads that do the jobs. What they finish while the consumer is on its
    way to Redis anyway is acknowledged in that same round trip; only while it sits and listens
    do they go there themselves, and then all that is finished goes at once.
    """

    def __init__(self, broker: BellBroker, queue: str, prefetch: int) -> None:
        self.broker = broker
        self.queue = queue
        self.prefetch = prefetch
        self.enough = prefetch // 2 if queue in AHEAD else 1  # room for fewer is not worth a trip
        self.cache: deque[bytes] = deque()
        self.held: set[bytes] = set()
        self.done: deque[bytes] = deque()
        self.freed = threading.Event()
        self.lock = threading.Lock()
        self.listening = False
        self.draining = False
        self.doubtful = True  # a message may have been given to us without our hearing of it
        self.drained = False  # whether the last fetch left nothing behind
        self.heard = time.monotonic()  # when Redis last answered
        self.taken = 0
        self._beaten = 0.0

    def __next__(self) -> Held | None:
        try:
            if not self.cache:
                self._refill()
            return self._first()
        except redis.RedisError as error:
            # Dramatiq would restart us, and we would forget what we hold
            log.warning("queue not heard", queue=self.queue, error=str(error).strip())
            self.doubtful, self.drained = True, False
            time.sleep(PAUSE_SECONDS)
            return None

    def _first(self) -> Held | None:
        if self.draining:
            self.give_back([self.cache.popleft() for _ in range(len(self.cache))])
        if not self.cache:
            return None
        body = self.cache.popleft()
        try:
            message: dramatiq.Message[Any] = dramatiq.Message.decode(body)
        except DecodeError:
            log.error("message is not readable", queue=self.queue, body=body[:500])
            self._finish(body)
            return None
        self.taken += 1
        return Held(message, body)

    def _refill(self) -> None:
        if self.doubtful:
            self._recall()
        room = 0 if self.draining else self.prefetch - len(self.held)
        if room < self.enough:
            self._await_room()
        elif self.drained and not self.done and not self._beat_due():
            self._listen()
        else:
            bodies = self._exchange(room)
            self._hold(bodies)
            self.drained = len(bodies) < room

    def _await_room(self) -> None:
        self.freed.wait(BELL_SECONDS)
        self.freed.clear()
        if self._beat_due():  # all hands are busy, perhaps for minutes: still alive
            self._exchange(0)

    def _listen(self) -> None:
        """Sleep until a message comes; nobody polls."""
        self.listening = True
        try:
            if self.done:  # finished between our look and our saying that we listen
                return
            keys = self.broker.waiting(self.queue), self.broker.holding(self.queue)
            body: Any = self.broker.listener.blmove(*keys, BELL_SECONDS, "LEFT", "RIGHT")
            self.heard = time.monotonic()
        finally:
            self.listening = False
        if body is not None:
            self._hold([body])
            self.drained = False

    def _hold(self, bodies: list[bytes]) -> None:
        self.held.update(bodies)
        self.cache.extend(bodies)

    def _recall(self) -> None:
        """Take up what Redis gave us while its answer got lost."""
        mine: Any = self.broker.client.lrange(self.broker.holding(self.queue), 0, -1)
        self._hold([body for body in mine if body not in self.held and body not in self.done])
        self.doubtful = False

    def _exchange(self, room: int) -> list[bytes]:
        """One round trip: acknowledge what is done, say that we live, take up to `room`."""
        with self.lock:
            done = list(self.done)
            self.done.clear()
        beats = self._beat_due()
        try:
            taken = self.broker.exchange(self.queue, room, done)
            if beats:
                self.broker.put_back_orphans()
        except redis.RedisError:
            with self.lock:
                self.done.extend(done)  # twice does no harm
            raise
        self.heard = time.monotonic()
        if beats:
            self._beaten = self.heard
        return taken

    def _beat_due(self) -> bool:
        return time.monotonic() - self._beaten > BEAT_SECONDS

    def ack(self, message: MessageProxy) -> None:
        self._finish(message.body)

    def nack(self, message: MessageProxy) -> None:
        """No dead letters: what became of a job stands in Postgres, see `perform`."""
        self._finish(message.body)

    def _finish(self, body: bytes) -> None:
        with self.lock:
            self.done.append(body)
        self.held.discard(body)
        if self.prefetch - len(self.held) >= self.enough:
            self.freed.set()
        if self.listening:
            try:
                self._exchange(0)
            except redis.RedisError as error:
                log.warning("job not acknowledged yet", queue=self.queue, error=str(error).strip())

    def requeue(self, messages: Iterable[MessageProxy]) -> None:
        """Give back what nobody has begun, in front of what waits."""
        try:
            self.give_back([message.body for message in messages])
        except redis.RedisError as error:
            raise ConnectionClosed(error) from None

    def give_back(self, bodies: list[bytes]) -> None:
        """Put messages back; those that cannot be come back once our heartbeat has ended."""
        self.broker.give_back(self.queue, bodies)
        self.held.difference_update(bodies)

    def close(self) -> None:
        """Acknowledge what is done and give back what was fetched and never begun."""
        try:
            self.give_back(list(self.cache))
            self.cache.clear()
            self._exchange(0)
        except redis.RedisError as error:
            log.warning("jobs not acknowledged", queue=self.queue, error=str(error).strip())
