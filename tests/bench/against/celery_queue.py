"""Celery on Redis, two processes. Its URL stands in QUEUE_URL."""

from __future__ import annotations

import os

import redis
from celery import Celery
from queueing import arrived, latencies, throughput, ticked, workers

URL = os.environ["QUEUE_URL"]
client = redis.Redis.from_url(URL)
app = Celery("celery_queue", broker=URL)
app.conf.update(task_ignore_result=True, task_acks_late=True, worker_hijack_root_logger=False)


@app.task
def arrive(sent_ns: int) -> None:
    arrived(client, sent_ns)


@app.task
def tick() -> None:
    ticked(client)


def send(count: int) -> None:
    for _ in range(count):
        tick.delay()


if __name__ == "__main__":
    from celery_queue import arrive as known_arrive  # by the name that the workers know
    from celery_queue import send as known_send
    from conversation import answer

    with workers("celery", "-A", "celery_queue", "worker", "-c", "2", "-l", "ERROR"):
        answer(
            latencies=lambda count, pause: latencies(client, known_arrive.delay, count, pause),
            throughput=lambda count: throughput(client, known_send, count),
        )
