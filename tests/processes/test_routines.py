"""Routines on the whole product: whoever dies meanwhile, each slot comes to one session."""

from __future__ import annotations

import itertools
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from models import base, routines, runs
from models.invariants import breaches
from models.routines import Firing
from models.runs import Run
from tests.processes.product import Product, product, scripted, until

NUMBER = 12
PROCESSES = ("web", "clock", "clock-2", "short", "short-2", "agents")
VICTIMS = ("clock", "short", "clock-2", "short-2")
PAUSE = 0.5  # seconds between two deaths
PLAY = scripted("Look around.", PULSE=[{"text": "Nothing to do.", "chunks": 10, "delay_ms": 50}])
LATER = {"intervalMinutes": 10_080, "instructions": PLAY, "planningModel": "scripted/demo"}


@pytest.mark.alone
@pytest.mark.timeout(240)
def test_every_slot_comes_to_one_session_whoever_is_killed_meanwhile(tmp_path: Path) -> None:
    with product(tmp_path, *PROCESSES) as running:
        many = {"coordination": {"maxConcurrentPulseSessions": NUMBER}}
        running.client.put("/v1/agents/eric/config", json=many).raise_for_status()
        for number in range(NUMBER):
            at = datetime.now(UTC) + timedelta(seconds=5)
            form = {"name": f"Round {number}", "oneOffs": [at.isoformat()], **LATER}
            running.post("/pulse-routines/eric", **form)
        base.connect(running.environment["DATABASE_URL"], 2)
        with base.db.connection_context():
            assert killed_until_over(running) > 2 * len(VICTIMS)
            firings = list(Firing.select())
            pulses = list(Run.select().where(Run.kind == runs.PULSE))
            assert len({firing.routine_id for firing in firings}) == len(firings) == NUMBER
            assert {firing.source for firing in firings} == {"one-off"}
            assert {firing.run_id for firing in firings} == {run.id for run in pulses}
            assert [(run.state, run.error) for run in pulses] == [(runs.COMPLETED, None)] * NUMBER
            until(lambda: breaches() == [], 20)
        base.db.close_all()
        told = running.get("/pulse-routines/eric")["routines"]
        assert [each["totalRuns"] for each in told] == [1] * NUMBER


def killed_until_over(running: Product) -> int:
    """Kill one process after the other while routines come up, and once the one that works.

    Gives how many died by the time that every session has ended.
    """
    until(lambda: Firing.select().exists(), 30, 0.01)
    for deaths, name in enumerate(itertools.cycle((*VICTIMS, "agents", *VICTIMS))):
        if deaths > 2 * len(VICTIMS) and Firing.select().count() == NUMBER:
            until(lambda: not Firing.select().where(Firing.state.in_(routines.OPEN)).exists(), 90)
            return deaths
        running.kill(name)
        running.start(name)
        time.sleep(PAUSE)
    raise AssertionError
