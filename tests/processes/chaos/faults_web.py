"""Faults of those who talk to clients and hand work on: web processes and clocks."""

from __future__ import annotations

import json
import random
import socket
import time
from contextlib import closing

import psycopg2

from tests.processes.chaos.load import Asked
from tests.processes.chaos.scenery import SPARED, Scenery, within

MOVED = 6.0  # seconds until a run moves whose bell was lost: three times what it may take
BOOT = 10.0  # seconds in which clocks are started again and lead
KEY = "SELECT run_id FROM idempotency_keys WHERE key = %s"
STATE = "SELECT state FROM runs WHERE id = %s"


def kill_before_answer(scenery: Scenery, dice: random.Random) -> str:
    """F15: SIGKILL the web process that has committed a run and not answered yet."""
    return _kill_at_commit(scenery, dice, also_clocks=False)


def kill_before_bell(scenery: Scenery, dice: random.Random) -> str:
    """F16: SIGKILL web and clocks when a run has committed and nobody has been told of it."""
    return _kill_at_commit(scenery, dice, also_clocks=True)


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
    return f"killed {member.name if member else 'nobody'}, {scenery.followers.cuts - before} cuts"


def _kill_at_commit(scenery: Scenery, dice: random.Random, also_clocks: bool) -> str:
    fleet = scenery.stage.fleet
    member = fleet.take("web", dice)
    if member is None:
        return SPARED
    asked = scenery.load.take()
    committed, bound = None, None
    try:
        with closing(scenery.stage.database()) as connection, connection.cursor() as cursor:
            with _Asking(member.port, asked):
                committed = within(3, lambda: _run_of(cursor, asked) is not None)
                fleet.kill(member, *(fleet.standing("clock") if also_clocks else []))
            bound = _run_of(cursor, asked)
    except (psycopg2.Error, OSError):
        fleet.kill(member)
    if committed is not None and bound:
        _judge_bell(scenery, bound, MOVED + (BOOT if also_clocks else 0.0))
    scenery.load.create(asked)
    if bound and asked.id and bound != asked.id:
        scenery.load.complaints[f"the key of {bound} led to {asked.id}"] += 1
    told = "committed" if committed is not None else "not committed in time"
    again = "the same run" if bound == asked.id else "a run"
    return f"killed {member.name}: {told}; asked again: {again}"


def _judge_bell(scenery: Scenery, run_id: str, at_most: float) -> None:
    """The run must move on though nobody rang for it, unless a store is away as well."""
    began = time.time()
    try:
        with scenery.stage.database() as connection, connection.cursor() as cursor:

            def moved() -> bool:
                cursor.execute(STATE, (run_id,))
                return bool(cursor.fetchone() not in {("pending",), None})

            seconds = within(at_most, moved)
    except psycopg2.Error:
        return
    if seconds is None and not scenery.stage.outages.touch(began, time.time()):
        scenery.late.append(f"F16: {run_id} has not moved after {at_most:.0f} s")


class _Asking:
    """A request that is sent and whose answer nobody will read."""

    def __init__(self, port: int, asked: Asked) -> None:
        body = json.dumps(asked.form).encode()
        self.data = (
            f"POST /v1/runs HTTP/1.1\r\nHost: here\r\nContent-Type: application/json\r\n"
            f"Idempotency-Key: {asked.key}\r\nContent-Length: {len(body)}\r\n\r\n"
        ).encode() + body
        self.port = port

    def __enter__(self) -> None:
        self.connection = socket.create_connection(("127.0.0.1", self.port), timeout=5)
        self.connection.sendall(self.data)

    def __exit__(self, *_: object) -> None:
        self.connection.close()


def _run_of(cursor: psycopg2.extensions.cursor, asked: Asked) -> str | None:
    cursor.execute(KEY, (asked.key,))
    row = cursor.fetchone()
    return row[0] if row else None
