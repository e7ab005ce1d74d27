"""Faults of those who talk to clients and hand work on: web processes and clocks."""

from __future__ import annotations

import json
import random
import select
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress

import psycopg2

from tests.processes.chaos.fleet import Member
from tests.processes.chaos.load import Asked
from tests.processes.chaos.scenery import SPARED, Missed, Scenery, within

MOVED = 6.0  # seconds until a run moves when there is a clock: three times what it may take
COMMITTED = 5.0  # seconds in which a run must be committed, a STEP at a time
STEP = 0.0005
TRIES = 8  # runs that are asked for until one is committed and not answered
KEY = "SELECT run_id FROM idempotency_keys WHERE key = %s"
STATE = "SELECT state FROM runs WHERE id = %s"


def kill_before_answer(scenery: Scenery, dice: random.Random) -> str:
    """F15: SIGKILL the web process that has committed a run and not answered yet."""
    member = scenery.stage.fleet.take("web", dice)
    if member is None:
        return SPARED
    try:
        for _ in range(TRIES):
            asked = scenery.load.take()
            if _stopped_at_commit(scenery, member, asked) is False:
                _end(scenery, member)
                return f"killed {member.name}: {_asked_again(scenery, asked)}"
            member.signal(signal.SIGCONT)
            scenery.load.create(asked)
        return Missed(f"{member.name} had always answered already, or not committed")
    finally:
        member.signal(signal.SIGCONT)
        member.busy = False


def kill_before_bell(scenery: Scenery, dice: random.Random) -> str:
    """F16: SIGKILL all clocks, ask for a run, SIGKILL the web process that has committed it."""
    fleet = scenery.stage.fleet
    member = fleet.take("web", dice)
    if member is None:
        return SPARED
    asked = scenery.load.take()
    fleet.kill(*fleet.standing("clock"))
    try:
        committed = _stopped_at_commit(scenery, member, asked) is not None
    finally:
        _end(scenery, member)
    told = f"killed {member.name} and clocks: {_asked_again(scenery, asked)}"
    return told if committed else Missed(f"{told}, as it was not committed in time")


def kill_clock(scenery: Scenery, dice: random.Random) -> str:
    """F16: SIGKILL one of the two clocks, the leading one as often as the other."""
    member = scenery.stage.fleet.take("clock", dice)
    if member is None:
        return SPARED
    scenery.stage.fleet.kill(member)
    return f"killed {member.name}"


def cut_streams(scenery: Scenery, dice: random.Random) -> str:
    """F17: SIGKILL a web process with its streams; all clients are cut at random bytes for 3 s."""
    member = scenery.stage.fleet.take("web", dice)
    before = scenery.followers.cuts
    scenery.followers.nervous_until = time.monotonic() + 3
    if member is not None:
        scenery.stage.fleet.kill(member)
    scenery.pause(3)
    told = f"killed {member.name if member else 'nobody'}"
    cuts = scenery.followers.cuts - before
    return f"{told}, {cuts} cuts" if cuts else Missed(f"{told}, cut nobody")


def _end(scenery: Scenery, member: Member) -> None:
    """All of it: a part that is left could still answer."""
    member.signal(signal.SIGKILL)
    scenery.stage.fleet.kill(member)


def _stopped_at_commit(scenery: Scenery, member: Member, asked: Asked) -> bool | None:
    """Ask a web process for a run and have it stand still as soon as that is committed.

    Gives whether it had answered by then; None when it was not committed in time. It goes on a
    little at a time, because between commit and answer there is no more than a millisecond.
    """
    with (
        suppress(psycopg2.Error, OSError),
        closing(scenery.stage.database()) as connection,
        connection.cursor() as cursor,
        _asking(member.port, asked) as wire,
    ):

        def committed() -> bool:
            member.signal(signal.SIGCONT)
            time.sleep(STEP)
            member.signal(signal.SIGSTOP)
            return _run_of(cursor, asked) is not None

        if within(COMMITTED, committed, every=0) is not None:
            return bool(select.select([wire], [], [], 0)[0])
    return None


@contextmanager
def _asking(port: int, asked: Asked) -> Iterator[socket.socket]:
    """A request that is sent and whose answer nobody will read."""
    body = json.dumps(asked.form).encode()
    head = (
        f"POST /v1/runs HTTP/1.1\r\nHost: here\r\nContent-Type: application/json\r\n"
        f"Idempotency-Key: {asked.key}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", port), timeout=5) as wire:
        wire.sendall(head.encode() + body)
        yield wire


def _asked_again(scenery: Scenery, asked: Asked) -> str:
    """See that the run moves though nobody rings for it; asked for again it must be the same."""
    began, bound = time.time(), None
    with (
        suppress(psycopg2.Error),
        closing(scenery.stage.database()) as connection,
        connection.cursor() as cursor,
    ):
        bound = _run_of(cursor, asked)

        def moved() -> bool:
            cursor.execute(STATE, (bound,))
            return bool(cursor.fetchone() != ("pending",))

        def due() -> float:
            return scenery.settled(began, time.time(), MOVED, "clock", "agents", "short") + MOVED

        while bound and not moved() and time.time() < due():
            time.sleep(0.05)
        if bound and not moved():
            scenery.late.append(f"F16: {bound} has not moved {MOVED:.0f} s after it could")
    seconds = time.time() - began
    scenery.load.create(asked)
    if bound and asked.id and bound != asked.id:
        scenery.load.complaints[f"the key of {bound} led to {asked.id}"] += 1
    again = "the same run" if bound == asked.id else "a run"
    return f"moved after {seconds:.1f} s; asked again: {again}"


def _run_of(cursor: psycopg2.extensions.cursor, asked: Asked) -> str | None:
    cursor.execute(KEY, (asked.key,))
    row = cursor.fetchone()
    return row[0] if row else None
