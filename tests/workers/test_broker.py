"""The broker with the bell, on a real Redis."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing

import pytest

from tests.patience import within
from workers.bell import BellConsumer
from workers.broker import BellBroker

QUEUE = "short"


@pytest.fixture
def broker(stream: str) -> Iterator[BellBroker]:
    made = BellBroker(stream)
    made.declare_queue(QUEUE)
    yield made
    made.close()


def requests(*names: str) -> list[dict[str, object]]:
    return [{"task": name, "args": [name], "kwargs": {}} for name in names]


def taken(consumer: BellConsumer, count: int) -> list[str]:
    """The names of the next `count` messages, each acknowledged."""
    names = []
    while len(names) < count:
        message = next(consumer)
        if message is not None:
            names.append(message.actor_name)
            consumer.ack(message)
    return names


def test_a_long_burst_comes_whole_and_in_order(broker: BellBroker) -> None:
    names = [f"job {number}" for number in range(200)]
    broker.send(QUEUE, requests(*names))
    consumer = broker.consume(QUEUE, prefetch=8)
    assert taken(consumer, len(names)) == names


def test_an_idle_consumer_hears_the_bell(broker: BellBroker) -> None:
    consumer = broker.consume(QUEUE, prefetch=8)
    assert next(consumer) is None

    def hear() -> list[str]:
        timer = threading.Timer(0.2, broker.send, (QUEUE, requests("late")))
        timer.start()
        return taken(consumer, 1)

    assert within(0.9, hear) == ["late"]  # the bell, not the look once a second


def test_two_processes_share_a_burst_and_each_message_comes_once(
    broker: BellBroker, stream: str
) -> None:
    broker.send(QUEUE, requests(*[f"job {number}" for number in range(20)]))
    with closing(BellBroker(stream)) as another:
        first, second = broker.consume(QUEUE, prefetch=2), another.consume(QUEUE, prefetch=2)
        names = [name for _ in range(10) for name in taken(first, 1) + taken(second, 1)]
    assert len(set(names)) == 20


def test_what_redis_gave_while_its_answer_was_lost_is_taken_up(
    broker: BellBroker,
) -> None:
    consumer = broker.consume(QUEUE, prefetch=4)
    next(consumer)
    broker.send(QUEUE, requests("a"))
    broker.exchange(QUEUE, 1, [])  # the answer never reached the consumer
    consumer.doubtful = True  # as after any error
    assert taken(consumer, 1) == ["a"]


def test_what_somebody_had_begun_with_goes_before_what_waits(broker: BellBroker) -> None:
    broker.send(QUEUE, requests("a", "b"))
    broker.send(QUEUE, [*requests("c"), *({**body, "first": True} for body in requests("d"))])
    assert taken(broker.consume(QUEUE, prefetch=4), 4) == ["d", "a", "b", "c"]
