"""500 routines that are due at one moment: how long until each is asked for, and until it begins.

python -m tests.bench.routines [--routines 500] [--rounds 3]

In one process: the clock's look, and the jobs it asks for, one after the other. The floor is what
Postgres takes for the least that must be written: a row and a request for each, committed as the
clock does and as a worker does.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

from models import outbox
from models.agents import Agent
from models.base import database_ms, db
from models.principals import Principal
from models.routines import Firing, Routine
from models.runs import Run
from models.steps import Step
from models.timetable import MINUTE_MS
from tasks import pulses, routines
from tests.bench.stage import engine
from workers.jobs import runs as run_jobs

GOAL_SECONDS = 60.0
SERVICES = [Principal(f"service:apikey:bench{number}", "service") for number in range(100)]


def main() -> None:
    """Make routines, have them all come due, print how long it took until they had begun."""
    chosen = argparse.ArgumentParser(description=__doc__)
    chosen.add_argument("--routines", type=int, default=500)
    chosen.add_argument("--rounds", type=int, default=3)
    given = chosen.parse_args()
    with engine(), db.connection_context():
        number = _hired(given.routines)
        for turn in range(1, given.rounds + 1):
            print(f"round {turn} of {number} routines")
            floor = _timed(lambda: _floor(number))
            asked = _timed(pulses.fire_due, _come_due)
            begun = _timed(_begin)
            dispatched = _timed(_dispatch)
            _show("the floor: a row and a request each, in one go", floor, number)
            _show("asked for by the clock", asked, number)
            _show("begun: a pinned run each, with prompt", begun, number)
            _show("dispatched: a step that waits for an agent", dispatched, number)
            total = asked + begun + dispatched
            print(f"  all of it {total:.2f} s, goal {GOAL_SECONDS:.0f} s on one worker thread")
            assert Step.select().count() == number
            for model in (Step, Run, Firing, outbox.Outbox):
                model.delete().execute()


def _hired(wanted: int) -> int:
    """Routines by the hand of as many owners as their limit for an agent asks for."""
    config = {"coordination": {"max_concurrent_pulse_sessions": 1_000}}
    Agent.update(config=config).execute()
    known = [agent.id for agent in Agent.select(Agent.id)]
    for number in range(wanted):
        owner = SERVICES[number // (len(known) * 40)]
        form = {"name": f"Round {number}", "instructions": "Look around. " * 40}
        routines.create(owner, known[number % len(known)], form)
    return wanted


def _come_due() -> None:
    """The clock has not looked for a little longer than the latest slot is ago."""
    db.execute_sql("DELETE FROM outbox")
    now = database_ms()
    slot = now // (30 * MINUTE_MS) * 30 * MINUTE_MS
    Routine.update(seen_until=slot - 1, look_at=slot).execute()


def _begin() -> None:
    for firing in list(Firing.select(Firing.id)):
        pulses.start(firing.id)


def _dispatch() -> None:
    for run in list(Run.select(Run.id)):
        run_jobs.advance(run.id, 1)


def _floor(number: int) -> None:
    with db.atomic():
        for each in range(number):
            outbox.ask("short", {"task": "nothing", "args": [each], "kwargs": {}})
            outbox.ask("short", {"task": "nothing", "args": [each], "kwargs": {}})


def _timed(act: Callable[[], object], before: Callable[[], object] | None = None) -> float:
    if before is not None:
        before()
    began = time.perf_counter()
    act()
    return time.perf_counter() - began


def _show(what: str, seconds: float, number: int) -> None:
    print(f"  {what:<52} {seconds:7.3f} s {1000 * seconds / number:7.2f} ms each")


if __name__ == "__main__":
    main()
