"""Faults of workers: killed at the worst moments, frozen, poisoned, retired, with a wrong clock."""

from __future__ import annotations

import math
import os
import random
import signal
import subprocess
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path

from tests.processes.chaos.fleet import Member
from tests.processes.chaos.mind import Scene
from tests.processes.chaos.model import Asking
from tests.processes.chaos.scenery import (
    NO_OCCASION,
    OCCASION_SECONDS,
    SPARED,
    Impossible,
    Missed,
    Scenery,
    within,
)
from tests.processes.chaos.watching import stored

PATIENCE = 30.0  # seconds a platform waits after SIGTERM
FROZEN = 30.0  # seconds
HOUR = 3600
WRONG_CLOCK = Path(__file__).with_name("wrong_clock.c")


def kill_in_model_call(scenery: Scenery, dice: random.Random) -> str:
    """F01: SIGKILL the worker that waits for an answer."""
    found = _in_a_call(scenery, lambda member: scenery.stage.fleet.kill(member))
    return f"killed {found[0].name} in {found[1].key}" if found else NO_OCCASION


def kill_after_act(scenery: Scenery, dice: random.Random) -> str:
    """F02: SIGKILL the worker whose command has just acted, before it hears of it."""
    happened, told = threading.Event(), []

    def strike(port: int) -> bool:
        member = scenery.caller(port, scenery.stage.sink.port)
        if member is not None:
            scenery.stage.fleet.kill(member)
            told.append(f"killed {member.name}")
            happened.set()
        return happened.is_set()

    scenery.stage.sink.on_act = strike
    happened.wait(OCCASION_SECONDS)
    scenery.stage.sink.on_act = None
    return told[0] if told else NO_OCCASION


def kill_after_seal(scenery: Scenery, dice: random.Random) -> str:
    """F03: SIGKILL the worker as soon as the answer it got is written down."""
    found = _in_a_call(scenery, lambda member: None)
    if not found:
        return NO_OCCASION
    member, scene = found
    seconds = None
    try:
        with closing(scenery.stage.database()) as connection, connection.cursor() as cursor:
            seconds = within(3, lambda: scene.turn in stored(cursor, scene), every=0.002)
    finally:
        scenery.stage.fleet.kill(member)
    told = f"killed {member.name} in {scene.key}"
    return told if seconds is not None else Missed(f"{told}, which was not written down")


def kill_all_workers(scenery: Scenery, dice: random.Random) -> str:
    """F04: SIGKILL every worker at once."""
    kinds = ("agents", "executors", "short")
    members = [member for kind in kinds for member in scenery.stage.fleet.standing(kind)]
    scenery.stage.fleet.kill(*members)
    return f"killed {len(members)}" if members else SPARED


def freeze(scenery: Scenery, dice: random.Random) -> str:
    """F05: SIGSTOP a worker for thirty seconds, past its leases, then let it go on."""
    member = scenery.stage.fleet.take(dice.choice(["agents", "executors", "short"]), dice)
    if member is None:
        return SPARED
    scenery.stage.fleet.freeze(member, FROZEN, scenery.pause)
    alive, member.busy = member.process.poll() is None, False
    return member.name if alive else Missed(f"{member.name} had been killed meanwhile")


def poison(scenery: Scenery, dice: random.Random) -> str:
    """F06: a run whose every call of a model ends its worker with SIGSEGV."""
    asked = scenery.load.poison()
    return asked.id or Missed("nobody took it")


def retire(scenery: Scenery, dice: random.Random) -> str:
    """F07: two more workers of a kind, then SIGTERM to all, SIGKILL after 30 s; then as before."""
    fleet = scenery.stage.fleet
    kind = dice.choice(["agents", "executors", "short"])
    more = [fleet.add(kind) for _ in range(2)]
    within(PATIENCE, lambda: all(map(_begun, more)))
    members = [member for member in fleet.standing(kind) if fleet.take_this(member)]
    if not members:
        return SPARED
    with ThreadPoolExecutor(len(members)) as pool:
        seconds = list(pool.map(lambda member: fleet.retire(member, PATIENCE), members))
    scenery.drains += seconds
    return f"{len(members)} of {kind} took at most {max(seconds):.1f} s"


def _begun(member: Member) -> bool:
    """Whether it takes work, or never will."""
    return member.ready < math.inf or member.process.poll() is not None


def wrong_clock(scenery: Scenery, dice: random.Random) -> str:
    """F22: a worker whose clock jumps an hour ahead and an hour back."""
    folder, fleet = scenery.stage.folder, scenery.stage.fleet
    library, clock = folder / "wrong_clock.so", folder / f"clock-{dice.getrandbits(32):x}"
    built = ["cc", "-shared", "-fPIC", "-o", str(library), str(WRONG_CLOCK)]
    if not library.exists():
        try:
            subprocess.run(built, check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError) as error:
            return Impossible(f"not possible here: {error}")
    clock.write_text("0")
    member = fleet.add("agents", LD_PRELOAD=str(library), WRONG_CLOCK=str(clock))
    member.busy = True
    within(PATIENCE, lambda: _begun(member))
    for seconds in (0, HOUR, -HOUR, 0):
        clock.write_text(str(seconds))
        scenery.pause(4)
    alive = member.process.poll() is None and member.ready < math.inf
    seconds_left = fleet.retire(member, PATIENCE)
    told = f"{member.name} was an hour early and late, left in {seconds_left:.1f} s"
    return told if alive else Missed(f"{member.name} never worked, or was killed meanwhile")


def poisoner(scenery: Scenery) -> Callable[[Asking], None]:
    """What happens to a worker that asks in the name of a poisoned run."""

    def strike(asking: Asking) -> None:
        pid, member = scenery.speaker(asking.port, scenery.stage.model.port) or (0, None)
        if member is None:
            return
        if pid == member.pid:  # whether or not another fault has it in hand as well
            scenery.stage.fleet.kill(member, number=signal.SIGSEGV)
        else:  # a process of its own, which it has alone
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSEGV)

    return strike


def _in_a_call(scenery: Scenery, act: Callable[[Member], object]) -> tuple[Member, Scene] | None:
    """Do something to the worker behind the next call of a model, which is answered after that."""
    happened, found = threading.Event(), []

    def occasion(asking: Asking) -> bool:
        member = scenery.caller(asking.port, scenery.stage.model.port)
        if member is None:
            return False
        act(member)
        found.append((member, asking.scene))
        happened.set()
        return True

    scenery.stage.model.during_a_call(occasion)
    happened.wait(OCCASION_SECONDS)
    scenery.stage.model.no_more(occasion)
    return found[0] if found else None
