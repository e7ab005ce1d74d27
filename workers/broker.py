"""The Redis broker with a bell, and the table of who performs which task.

Redis carries ids only and may be emptied at any moment: what is lost here, the sweep asks again.
The options answer Dramatiq's defaults: no retries, no delays and no time limits of its own (a
retry is a row, a delay is `due_at`, a deadline belongs to the job), prefetch equal to the threads,
a logical database of its own because its maintenance scans all keys.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import dramatiq
import redis
import structlog
from dramatiq.broker import MessageProxy
from dramatiq.brokers.redis import RedisBroker, _RedisConsumer
from dramatiq.errors import ConnectionClosed

from models.base import db
from models.logs import log
from tasks import TASKS, Task

BELL_SECONDS = 1
BELLS_KEPT = 64

Performer = Callable[..., None]
PERFORMERS: dict[str, Performer] = {}


def performs(task: Task[Any]) -> Callable[[Performer], Performer]:
    """Say that the decorated function does what `task` asks."""

    def register(performer: Performer) -> Performer:
        PERFORMERS[task.name] = performer
        return performer

    return register


def perform(name: str, *args: Any, **kwargs: Any) -> None:
    """Do one asked-for job with a database connection and its name in every log line."""
    with (
        structlog.contextvars.bound_contextvars(task=name, args=args),
        db.connection_context(),
    ):
        try:
            PERFORMERS[name](*args, **kwargs)
        except Exception:
            log.exception("job failed")
            raise


class BellConsumer(_RedisConsumer):
    """A consumer that blocks on a bell instead of polling with growing pauses."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.freed = threading.Event()
        self.drained = False  # whether the last fetch left nothing behind

    def ack(self, message: MessageProxy) -> None:
        try:
            super().ack(message)
        finally:
            self.freed.set()

    def nack(self, message: MessageProxy) -> None:
        try:
            super().nack(message)
        finally:
            self.freed.set()

    def __next__(self) -> MessageProxy | None:
        try:
            return self._next()
        except (redis.ConnectionError, redis.TimeoutError) as error:
            raise ConnectionClosed(error) from None

    def _next(self) -> MessageProxy | None:
        if not self.message_cache:
            self._refill()
        if not self.message_cache:
            return None
        message = dramatiq.Message.decode(self.message_cache.pop(0))
        self.queued_message_ids.add(message.message_id)
        return MessageProxy(message)

    def _refill(self) -> None:
        """Fetch what there is room for; what comes after a queue was drained rings the bell."""
        self.freed.clear()
        room = self.prefetch - self.outstanding_message_count
        if room <= 0:
            self.freed.wait(BELL_SECONDS)
            return
        bells, bell = self.broker.bells, self.broker.bell(self.queue_name)
        if self.drained:
            bells.blpop([bell], timeout=BELL_SECONDS)
        self.message_cache = self.broker.do_fetch(self.queue_name, room)
        self.drained = len(self.message_cache) < room
        if len(self.message_cache) > 1:
            bells.lpop(bell, len(self.message_cache) - 1)  # theirs, or each would wake somebody


class BellBroker(RedisBroker):
    """Dramatiq's Redis broker; every message also rings the bell of its queue."""

    def __init__(self, url: str) -> None:
        url = broker_url(url)
        client = redis.Redis.from_url(url, socket_timeout=5, socket_connect_timeout=2)
        super().__init__(
            client=client,
            middleware=[],
            namespace="djinn",
            maintenance_chance=1_000_000,
            heartbeat_timeout=10_000,
        )
        self.bells = redis.Redis.from_url(url, socket_timeout=BELL_SECONDS + 5)

    @property
    def consumer_class(self) -> type[BellConsumer]:
        return BellConsumer

    def bell(self, queue: str) -> str:
        return f"{self.namespace}:bell:{queue}"

    def send(self, queue: str, bodies: Sequence[dict[str, Any]]) -> None:
        """Hand requests of one queue to the workers, in order and in one round trip.

        Writes what the `enqueue` of Dramatiq's dispatch.lua writes, which takes one at a time.
        """
        messages = [_message(queue, body) for body in bodies]
        texts: dict[Any, Any] = {each.message_id: each.encode() for each in messages}
        pipeline = self.client.pipeline(transaction=False)
        pipeline.hset(f"{self.namespace}:{queue}.msgs", mapping=texts)
        pipeline.rpush(f"{self.namespace}:{queue}", *texts)
        pipeline.rpush(self.bell(queue), *["1"] * min(len(messages), BELLS_KEPT))
        pipeline.ltrim(self.bell(queue), 0, BELLS_KEPT - 1)
        pipeline.execute()


class BellWorker(dramatiq.Worker):
    """A worker that takes no more than it has threads for, and has no delay queues."""

    def __init__(self, broker: BellBroker, queues: Sequence[str], threads: int) -> None:
        super().__init__(broker, queues=set(queues), worker_threads=threads)
        self.queue_prefetch = threads

    def _add_consumer(self, queue_name: str, *, delay: bool = False) -> None:
        if not delay:
            super()._add_consumer(queue_name)


def _message(queue: str, body: dict[str, Any]) -> dramatiq.Message[None]:
    message: dramatiq.Message[None] = dramatiq.Message(
        queue_name=queue,
        actor_name=body["task"],
        args=tuple(body["args"]),
        kwargs=body["kwargs"],
        options={},
    )
    message.options["redis_message_id"] = message.message_id
    return message


def broker_url(url: str) -> str:
    """The same server's next logical database: streams have the one that was named."""
    parts = urlsplit(url)
    number = int(parts.path.strip("/") or 0)
    return urlunsplit(parts._replace(path=f"/{number + 1}"))


def declare_actors(broker: BellBroker) -> None:
    """Make every declared task an actor of `broker`."""

    def actor_for(task: Task[Any]) -> None:
        def act(*args: Any, **kwargs: Any) -> None:
            perform(task.name, *args, **kwargs)

        dramatiq.actor(actor_name=task.name, queue_name=task.queue, broker=broker)(act)

    for task in TASKS.values():
        actor_for(task)
