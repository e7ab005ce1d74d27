"""Plain Dramatiq on Redis, two processes of eight threads. Its URL stands in QUEUE_URL."""

from __future__ import annotations

import os

import dramatiq
import redis
from dramatiq.brokers.redis import RedisBroker
from queueing import arrived, latencies, throughput, ticked, workers

URL = os.environ["QUEUE_URL"]
client = redis.Redis.from_url(URL)
dramatiq.set_broker(RedisBroker(url=URL))


@dramatiq.actor
def arrive(sent_ns: int) -> None:
    arrived(client, sent_ns)


@dramatiq.actor
def tick() -> None:
    ticked(client)


def send(count: int) -> None:
    for _ in range(count):
        tick.send()


if __name__ == "__main__":
    from conversation import answer

    with workers("dramatiq", "dramatiq_queue", "--processes", "2", "--threads", "8"):
        answer(
            latencies=lambda count, pause: latencies(client, arrive.send, count, pause),
            throughput=lambda count: throughput(client, send, count),
        )
