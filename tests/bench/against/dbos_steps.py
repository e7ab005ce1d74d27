"""DBOS: durable steps of a workflow, and workflows of one step. Arguments: a database's URL."""

from __future__ import annotations

import sys
import time
from collections import deque
from typing import Any

from conversation import answer
from dbos import DBOS

ANSWER = {"summary": "Said what it was", "tokens": 120}
config = {"name": "bench", "system_database_url": sys.argv[1], "log_level": "ERROR"}
dbos = DBOS(config=config)


@DBOS.step()
def act() -> dict[str, Any]:
    """A model that answers at once."""
    return ANSWER


@DBOS.workflow()
def one_step() -> dict[str, Any]:
    return act()


@DBOS.workflow()
def many_steps(count: int) -> list[float]:
    taken = []
    for _ in range(count):
        began = time.perf_counter()
        act()
        taken.append((time.perf_counter() - began) * 1000)
    return taken


def steps(count: int) -> list[float]:
    """Milliseconds of each of `count` steps of one workflow."""
    return many_steps(count)


def runs(count: int) -> list[float]:
    """Milliseconds of each of `count` workflows of one step, one after the other."""
    taken = []
    for _ in range(count):
        began = time.perf_counter()
        one_step()
        taken.append((time.perf_counter() - began) * 1000)
    return taken


def crowd(seconds: float, at_once: int) -> float:
    """Workflows of one step ended per second, so many at a time on threads of this process."""
    return _rate(lambda: DBOS.start_workflow(one_step), seconds, at_once)


def queued(seconds: float, at_once: int) -> float:
    """Workflows of one step ended per second, so many at a time through a queue."""
    return _rate(lambda: queue.enqueue(one_step), seconds, at_once)


def _rate(start: Any, seconds: float, at_once: int) -> float:
    began = time.perf_counter()
    under_way = deque(start() for _ in range(at_once))
    ended = 0
    while (now := time.perf_counter()) < began + seconds:
        under_way.popleft().get_result(polling_interval_sec=0.005)
        under_way.append(start())
        ended += 1
    rate = ended / (now - began)
    for handle in under_way:
        handle.get_result(polling_interval_sec=0.005)
    return rate


DBOS.launch()
queue = DBOS.register_queue("bench", polling_interval_sec=0.01)
answer(steps=steps, runs=runs, crowd=crowd, queued=queued)
DBOS.destroy()
