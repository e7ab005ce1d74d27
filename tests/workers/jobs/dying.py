"""Workers that die or fall asleep at a chosen place of their work, and what they leave behind."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from models import base
from models.config import settings
from models.events import Event
from models.ledger import Entry
from models.llm_calls import LlmCall
from models.runs import Run
from models.steps import Step
from workers import clock
from workers.agents.events import Asking, Called, Ending, Known, Replied, Returned, Talk
from workers.halting import Halt
from workers.jobs import steps as jobs
from workers.pipelines.sitting import Sitting

ACTS = (Asking, Replied, Called, Returned)


class Killed(BaseException):
    """The process is gone: nobody handles this."""


class DyingSitting(Sitting):
    """One that calls `at(number, when)` before and after each act's event reaches the driver."""

    at: Callable[[int, str], None]

    def _talk(self, *args: Any) -> Talk[Ending]:
        return self._watched(super()._talk(*args))

    def _watched(self, talk: Talk[Ending]) -> Talk[Ending]:
        known: Known = None
        number = 0
        while True:
            try:
                event = talk.send(known)
            except StopIteration as over:
                ending: Ending = over.value
                self.at(number, "end")
                return ending
            if not isinstance(event, ACTS):
                known = yield event
                continue
            self.at(number, "before")
            known = yield event
            self.at(number, "after")
            number += 1


def claimed(execution_id: str, at: Callable[[int, str], None]) -> DyingSitting:
    """The step, taken by a worker that nothing keeps alive."""
    taken = jobs.claim(execution_id)
    assert taken is not None
    sitting = DyingSitting(settings(), *taken)
    sitting.at = at
    return sitting


def die(execution_id: str, number: int, when: str) -> bool:
    """Work until the place and die there; False when the work ended before, and is dropped."""

    def at(*place: object) -> None:
        if place in ((number, when), (0, "never")):
            raise Killed

    try:
        claimed(execution_id, at).work(Halt())
    except Killed:
        return True
    return False


class Sleeper(threading.Thread):
    """A worker that falls asleep at a place of its work, and wakes when it is told to."""

    def __init__(self, execution_id: str, number: int = -1, when: str = "") -> None:
        super().__init__()
        self.place = number, when
        self.asleep = threading.Event()
        self.wake = threading.Event()
        self.raised: BaseException | None = None
        self.sitting = claimed(execution_id, self._at)

    def _at(self, *place: object) -> None:
        if place == self.place:
            self.asleep.set()
            assert self.wake.wait(30)

    def run(self) -> None:
        with base.db.connection_context():
            try:
                done = self.sitting.work(Halt())
                jobs.settle(self.sitting.run, self.sitting.step, done)
            except Exception as error:
                self.raised = error


def expire(execution_id: str) -> None:
    """The worker goes silent, and the clock has its step recovered."""
    Step.update(leased_until=1).where(Step.id == execution_id).execute()
    clock.sweep_leases()
    base.db.execute_sql("DELETE FROM outbox WHERE body->>'task' = 'steps.recover'")
    jobs.recover(execution_id)


@dataclass(frozen=True)
class Record:
    """Everything that is written of a run, to be compared."""

    run: tuple[Any, ...]
    steps: list[tuple[Any, ...]]
    ledger: list[tuple[Any, ...]]
    events: list[tuple[Any, ...]]
    calls: list[tuple[Any, ...]]
    asked: list[tuple[Any, ...]]

    @classmethod
    def of(cls, run_id: str) -> Record:
        steps = Step.select(Step.id).where(Step.run == run_id)
        (run,) = Run.select().where(Run.id == run_id).tuples()
        return cls(
            run,
            list(Step.select().where(Step.run == run_id).order_by(Step.number).tuples()),
            list(Entry.select().where(Entry.execution.in_(steps)).order_by(Entry.seq).tuples()),
            list(Event.select().where(Event.run_id == run_id).order_by(Event.seq).tuples()),
            list(LlmCall.select().where(LlmCall.run_id == run_id).order_by(LlmCall.id).tuples()),
            base.db.execute_sql("SELECT id, body::text FROM outbox ORDER BY id").fetchall(),
        )


def call(name: str, **arguments: Any) -> tuple[str, str]:
    return name, json.dumps(arguments)


def sealed_turns(execution_id: str) -> set[int]:
    """The turns whose answers are on record."""
    entries = Entry.select().where((Entry.execution == execution_id) & (Entry.kind == "model"))
    return {turn for turn, entry in enumerate(entries.order_by(Entry.seq)) if entry.sealed}


def places(acts: int) -> Iterator[tuple[int, str]]:
    """Every place where a worker may die; after an act's end is before the next one's beginning."""
    for number in range(acts):
        yield number, "before"
        if number % 2 == 0:
            yield number, "after"
    yield acts, "end"
