"""When the tasks of a board could be done, and which of them decide over the end.

Plain values in, plain values out: the critical path method on the graph of dependencies.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from graphlib import TopologicalSorter
from typing import NamedTuple

DAY_MS = 24 * 60 * 60 * 1000


class Job(NamedTuple):
    """A task as a schedule sees it: how many hours it takes, and what must be done before."""

    id: str
    hours: float
    needs: tuple[str, ...] = ()


class Slot(NamedTuple):
    """When a job is done, in hours of work from the beginning."""

    start: float
    end: float


@dataclass(frozen=True)
class Schedule:
    """A slot for each job, the order they could be done in, and the longest way through them."""

    slots: Mapping[str, Slot]
    order: tuple[str, ...]
    critical: tuple[str, ...]

    @property
    def hours(self) -> float:
        """How long everything takes when enough hands work side by side."""
        return max((slot.end for slot in self.slots.values()), default=0.0)


def scheduled(jobs: Sequence[Job]) -> Schedule:
    """Every job as early as it can be; the jobs must not wait for each other in a circle."""
    known = {job.id: job for job in jobs}
    graph = {job.id: [need for need in job.needs if need in known] for job in jobs}
    order = tuple(TopologicalSorter(graph).static_order())
    slots: dict[str, Slot] = {}
    for job_id in order:
        start = max((slots[need].end for need in graph[job_id]), default=0.0)
        slots[job_id] = Slot(start, start + known[job_id].hours)
    return Schedule(slots, order, _critical(graph, slots))


def _critical(graph: Mapping[str, Iterable[str]], slots: Mapping[str, Slot]) -> tuple[str, ...]:
    """Back from the job that ends last, each time to what it had to wait for."""
    if not slots:
        return ()
    here: str | None = max(slots, key=lambda job_id: (slots[job_id].end, job_id))
    way: list[str] = []
    while here is not None:
        way.append(here)
        needs = list(graph[here])
        here = max(needs, key=lambda need: (slots[need].end, need)) if needs else None
    return tuple(reversed(way))


def moment(beginning: int, hours: float, hours_per_day: float) -> int:
    """The time (ms) after so many hours of work from `beginning`, at so many hours a day."""
    return beginning + math.floor(hours / hours_per_day * DAY_MS)
