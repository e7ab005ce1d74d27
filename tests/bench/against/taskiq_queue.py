"""Taskiq on a Redis stream, two processes. Its URL stands in QUEUE_URL."""

from __future__ import annotations

import asyncio
import os
import time

import redis
import redis.asyncio
from queueing import ARRIVED, DONE, latencies, throughput, workers
from taskiq_redis import RedisStreamBroker

URL = os.environ["QUEUE_URL"]
broker = RedisStreamBroker(url=URL)
asynchronous = redis.asyncio.Redis.from_url(URL)


@broker.task(task_name="arrive")
async def arrive(sent_ns: int) -> None:
    await asynchronous.rpush(ARRIVED, time.monotonic_ns() - sent_ns)


@broker.task(task_name="tick")
async def tick() -> None:
    await asynchronous.incr(DONE)


async def send(count: int) -> None:
    for _ in range(count):
        await tick.kiq()


if __name__ == "__main__":
    from conversation import answer

    client = redis.Redis.from_url(URL)
    loop = asyncio.new_event_loop()
    loop.run_until_complete(broker.startup())

    def at_once(sent_ns: int) -> None:
        loop.run_until_complete(arrive.kiq(sent_ns))

    def many(count: int) -> None:
        loop.run_until_complete(send(count))

    with workers(
        "taskiq", "worker", "taskiq_queue:broker", "--workers", "2", "--log-level", "ERROR"
    ):
        answer(
            latencies=lambda count, pause: latencies(client, at_once, count, pause),
            throughput=lambda count: throughput(client, many, count),
        )
    loop.run_until_complete(broker.shutdown())
