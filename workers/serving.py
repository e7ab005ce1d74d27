"""The threads that serve queues: for each queue a pool of its own, so that none starves another."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from contextlib import closing

import dramatiq
import redis
from dramatiq.common import iter_queue

from models.config import Misconfigured
from models.logs import log
from workers.bell import AHEAD, BellConsumer
from workers.broker import BellBroker, declare_actors

DEAF_SECONDS = 15.0


class BellWorker(dramatiq.Worker):
    """The threads that serve one queue; of long jobs it takes no more than it has threads for."""

    def __init__(self, broker: BellBroker, queue: str, threads: int) -> None:
        super().__init__(broker, queues={queue}, worker_threads=threads)
        self.queue = queue
        self.queue_prefetch = threads * AHEAD.get(queue, 1)
        self.ears = broker
        broker.declare_queue(queue)
        declare_actors(broker, queue)

    @property
    def consumer(self) -> BellConsumer | None:
        """What listens to the queue, once it has begun."""
        thread = self.consumers.get(self.queue)
        found = thread.consumer if thread is not None else None
        return found if isinstance(found, BellConsumer) else None

    def stop(self, timeout: int = 600_000) -> None:
        """Take nothing more, give back what nobody has begun, let end what has (at most ms)."""
        if self.consumer is not None:
            self.consumer.draining = True
            self._give_back(self.consumer)
        super().stop(timeout)
        self.ears.close()

    def _give_back(self, consumer: BellConsumer) -> None:
        """What nobody has begun; while Redis is away that waits for the end of our heartbeat."""
        unbegun = [item.message.body for item in iter_queue(self.work_queue)]
        try:
            consumer.give_back(unbegun)
        except redis.RedisError as error:
            log.warning("jobs not given back", queue=self.queue, error=str(error).strip())

    def deaf(self, seconds: float = DEAF_SECONDS) -> bool:
        """Whether it has not heard of its queue for so long although Redis serves this process."""
        threads = [*self.consumers.values(), *self.workers]
        if self.consumer is None or not all(thread.is_alive() for thread in threads):
            return bool(threads)
        return time.monotonic() - self.consumer.heard > seconds and self.ears.obeys()


def refuse_eviction(redis_url: str) -> None:
    """Raise Misconfigured for a Redis that drops what it was given when memory runs short.

    Of what may expire (`volatile-...`) we keep nothing there. A Redis that does not answer yet is
    not a reason to stay away.
    """
    with closing(BellBroker(redis_url)) as broker:
        try:
            policy = broker.client.info("memory").get("maxmemory_policy", "noeviction")
        except redis.RedisError as error:
            log.warning("Redis does not answer yet", error=str(error).strip())
            return
    if str(policy).startswith("allkeys"):
        raise Misconfigured(
            f"REDIS_URL names a Redis with maxmemory-policy {policy}, which loses requests when its"
            " memory is full. Set it to noeviction."
        )


class Pools:
    """A worker for each of several queues."""

    def __init__(self, redis_url: str, queues: Sequence[str], threads: int) -> None:
        self.workers = [BellWorker(BellBroker(redis_url), queue, threads) for queue in queues]

    def start(self) -> None:
        for worker in self.workers:
            worker.start()

    def stop(self, timeout: int) -> None:
        """Stop all of them at once (ms)."""
        stopping = [
            threading.Thread(target=worker.stop, args=(timeout,)) for worker in self.workers
        ]
        for thread in stopping:
            thread.start()
        for thread in stopping:
            thread.join()

    def deaf(self) -> list[str]:
        """The queues that this process should hear and does not."""
        return [worker.queue for worker in self.workers if worker.deaf()]
