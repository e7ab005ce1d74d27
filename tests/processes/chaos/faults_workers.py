"""Faults of workers: killed at the worst moments, frozen, poisoned, retired, with a wrong clock."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from tests.processes.chaos.fleet import Member
from tests.processes.chaos.model import Asking
from tests.processes.chaos.scenery import SPARED, Missed, Scenery, waited_for, within

PATIENCE = 30.0  # seconds a platform waits after SIGTERM
HOUR = 3600
WRONG_CLOCK = Path(__file__).with_name("wrong_clock.c")
ANSWERED = """
    SELECT count(*) FROM llm_calls JOIN steps
        ON llm_calls.run_id = steps.run_id AND llm_calls.step_id = steps.step_id
    WHERE steps.run_id = %s AND steps.step_id = %s"""


def kill_in_model_call(scenery: Scenery, dice: random.Random) -> str:
    """F01: SIGKILL the worker that waits for an answer."""
    return _during_call(scenery, dice, scenery.stage.fleet.kill)


def kill_after_act(scenery: Scenery, dice: random.Random) -> str:
    """F02: SIGKILL the worker whose command has just acted, before it hears of it."""
    happened, told = threading.Event(), []

    def strike(port: int) -> None:
        member = scenery.caller(port, scenery.stage.sink.port)
        if member is not None:
            scenery.stage.fleet.kill(member)
            told.append(member.name)
        happened.set()

    scenery.stage.sink.on_act = strike
    otherwise = waited_for(happened, lambda: scenery.kill_worker(dice))
    scenery.stage.sink.on_act = None
    return otherwise or (f"killed {told[0]}" if told else Missed("killed nobody: it was gone"))


def kill_after_seal(scenery: Scenery, dice: random.Random) -> str:
    """F03: SIGKILL the worker as soon as the answer it got is written down."""

    def strike(member: Member, asking: Asking) -> None:
        threading.Thread(target=wait_and_kill, args=(member, asking), name="fault").start()

    def wait_and_kill(member: Member, asking: Asking) -> None:
        place = (asking.scene.run, asking.scene.step)
        with scenery.stage.database() as connection, connection.cursor() as cursor:
            cursor.execute(ANSWERED, place)
            before = cursor.fetchone()

            def stored() -> bool:
                cursor.execute(ANSWERED, place)
                return bool(cursor.fetchone() != before)

            within(3, stored)
        scenery.stage.fleet.kill(member)

    return _during_call_with(scenery, dice, strike)


def kill_all_workers(scenery: Scenery, dice: random.Random) -> str:
    """F04: SIGKILL every worker at once."""
    kinds = ("agents", "executors", "short")
    with scenery.stage.outages.noted():  # nobody is left to take anything over
        members = [member for kind in kinds for member in scenery.stage.fleet.standing(kind)]
        scenery.stage.fleet.kill(*members)
        scenery.pause(4)
    return f"killed {len(members)}"


def freeze(scenery: Scenery, dice: random.Random) -> str:
    """F05: SIGSTOP a worker past its leases, then let it go on."""
    member = scenery.stage.fleet.take("agents", dice)
    if member is None:
        return SPARED
    seconds = dice.uniform(10, 30)
    scenery.stage.fleet.freeze(member, seconds, scenery.pause)
    member.busy = False
    return f"{member.name} for {seconds:.0f} s"


def poison(scenery: Scenery, dice: random.Random) -> str:
    """F06: a run whose every call of a model ends its worker with SIGSEGV."""
    asked = scenery.load.poison()
    return asked.id or Missed("nobody took it")


def retire(scenery: Scenery, dice: random.Random) -> str:
    """F07: SIGTERM, then SIGKILL after 30 s; twice as many workers for a while."""
    fleet = scenery.stage.fleet
    kind = dice.choice(["agents", "agents", "short"])
    more = [fleet.add(kind) for _ in range(2)]
    member = fleet.take(kind, dice)
    if member is None:
        return SPARED
    seconds = [fleet.retire(member, PATIENCE)]
    scenery.pause(3)
    seconds += [fleet.retire(each, PATIENCE) for each in more if each.process.poll() is None]
    scenery.drains += seconds
    return f"{member.name} took {seconds[0]:.1f} s, all of them at most {max(seconds):.1f} s"


def wrong_clock(scenery: Scenery, dice: random.Random) -> str:
    """F22: a worker whose clock jumps an hour ahead and an hour back."""
    folder, fleet = scenery.stage.folder, scenery.stage.fleet
    library, clock = folder / "wrong_clock.so", folder / f"clock-{dice.getrandbits(32):x}"
    built = ["cc", "-shared", "-fPIC", "-o", str(library), str(WRONG_CLOCK)]
    if not library.exists():
        try:
            subprocess.run(built, check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError) as error:
            return Missed(f"not possible here: {error}")
    clock.write_text("0")
    member = fleet.add("agents", LD_PRELOAD=str(library), WRONG_CLOCK=str(clock))
    member.busy = True
    for seconds in (0, HOUR, -HOUR, 0):
        clock.write_text(str(seconds))
        scenery.pause(4)
    alive = member.process.poll() is None
    seconds_left = fleet.retire(member, PATIENCE)
    told = f"{member.name} was an hour early and late, left in {seconds_left:.1f} s"
    return told if alive else Missed(f"{member.name} had been killed meanwhile")


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


def _during_call(scenery: Scenery, dice: random.Random, act: Callable[[Member], object]) -> str:
    return _during_call_with(scenery, dice, lambda member, _: act(member))


def _during_call_with(
    scenery: Scenery, dice: random.Random, act: Callable[[Member, Asking], object]
) -> str:
    """Do something to the worker behind the next call of a model."""
    happened, told = threading.Event(), []

    def occasion(asking: Asking) -> bool:
        member = scenery.caller(asking.port, scenery.stage.model.port)
        if member is None:
            return False
        told.append(f"killed {member.name} in {asking.scene.key}")
        act(member, asking)
        happened.set()
        return True

    scenery.stage.model.during_a_call(occasion)
    otherwise = waited_for(happened, lambda: scenery.kill_worker(dice))
    scenery.stage.model.no_more(occasion)
    return otherwise or told[0]
