"""Faults of what the product stands on: Redis, Postgres, the model's provider, the disk."""

from __future__ import annotations

import os
import random
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx2 as httpx
import psycopg2
import redis

from tests.processes.chaos.load import OVER, Asked
from tests.processes.chaos.model import TROUBLE
from tests.processes.chaos.scenery import Impossible, Missed, Scenery

BLOCK = 1 << 20
ANSWERED = 1.5  # seconds: three times what an answer may take, because machines are busy
ASKED = 5  # times, for each of what is asked while Redis says nothing


def kill_redis(scenery: Scenery, dice: random.Random) -> str:
    """F08: SIGKILL Redis, and start it again with what its file holds."""
    scenery.stage.crash_redis(dice.uniform(0.2, 3))
    return ""


def empty_redis(scenery: Scenery, dice: random.Random) -> str:
    """F09: FLUSHALL in the middle of everything."""
    with scenery.stage.redis_client() as client:
        client.flushall()
    return ""


def fill_redis(scenery: Scenery, dice: random.Random) -> str:
    """F10: no memory left for any write, and then enough again."""
    seconds = dice.uniform(2, 5)
    with scenery.stage.outages.noted(), scenery.stage.redis_client() as client:
        client.config_set("maxmemory", 1)
        scenery.pause(seconds)
        client.config_set("maxmemory", 0)
    return f"for {seconds:.1f} s"


def readonly_redis(scenery: Scenery, dice: random.Random) -> str:
    """F11: Redis becomes a replica that refuses writes, as in a failover."""
    seconds = dice.uniform(2, 5)
    with scenery.stage.outages.noted(), scenery.stage.redis_client() as client:
        client.replicaof("127.0.0.1", 1)
        scenery.pause(seconds)
        client.replicaof("NO", "ONE")
    return f"for {seconds:.1f} s"


def silent_redis(scenery: Scenery, dice: random.Random) -> str:
    """F11: ten seconds in which nothing passes between the product and Redis."""
    with scenery.stage.outages.noted():
        runs = [scenery.load.take() for _ in range(ASKED)]
        scenery.stage.proxy.fall_silent()
        try:
            created, status = zip(*(_answered(scenery, dice, run) for run in runs), strict=True)
        finally:
            scenery.stage.proxy.speak()
    for run in runs:
        scenery.load.create(run)  # the same ones: now they are looked after
    slow = [sorted(seconds)[-2] for seconds in (created, status)]  # one may meet another fault
    told = f"runs were accepted in {slow[0]:.2f} s, the status told in {slow[1]:.2f} s"
    if max(slow) > ANSWERED:
        scenery.late.append(f"F11: {told}")
    return told


def crash_postgres(scenery: Scenery, dice: random.Random) -> str:
    """F12: an immediate stop of Postgres, and a start that recovers."""
    scenery.stage.crash_postgres(dice.uniform(0.2, 2))
    return ""


def end_sessions(scenery: Scenery, dice: random.Random) -> str:
    """F13: every session with Postgres is terminated."""
    with scenery.stage.outages.noted(), _cursor(scenery) as cursor:
        cursor.execute(
            """SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
            WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"""
        )
        return f"{cursor.fetchall()[0][0]} sessions"


def exhaust_connections(scenery: Scenery, dice: random.Random) -> str:
    """F13: Postgres accepts no more connections for three seconds."""
    held: list[psycopg2.extensions.connection] = []
    with scenery.stage.outages.noted():
        try:
            with suppress(psycopg2.OperationalError):
                while len(held) < 400:
                    held.append(psycopg2.connect(scenery.stage.postgres.url, connect_timeout=5))
            scenery.pause(3)
        finally:
            for connection in held:
                connection.close()
    return f"held {len(held)}" if held else Missed("held none")


def lock_runs(scenery: Scenery, dice: random.Random) -> str:
    """F14: somebody locks the table of runs for five seconds."""
    with scenery.stage.outages.noted(), _cursor(scenery) as cursor:
        cursor.execute("BEGIN; LOCK TABLE runs IN ACCESS EXCLUSIVE MODE")
        scenery.pause(5)
        cursor.execute("ROLLBACK")
    return ""


def trouble_model(scenery: Scenery, dice: random.Random) -> str:
    """F21: for three seconds the provider answers nobody properly."""
    model, kind = scenery.stage.model, dice.choice(sorted(TROUBLE))
    before = model.troubled
    model.trouble = TROUBLE[kind]
    scenery.pause(3)
    model.trouble = None
    calls = model.troubled - before
    return f"{kind}: {calls} calls" if calls else Missed(f"{kind}: nobody called")


def fill_disk(scenery: Scenery, dice: random.Random) -> str:
    """F23: the disk with the workspaces is full for four seconds."""
    with scenery.disk.noted():
        return _filled(scenery, scenery.stage.workspaces)


def fill_log_disk(scenery: Scenery, dice: random.Random) -> str:
    """F23: the disk to which Redis writes its file is full for four seconds."""
    with scenery.stage.outages.noted():
        return _filled(scenery, scenery.stage.log_disk)


def lose_folder(scenery: Scenery, dice: random.Random) -> str:
    """F23: what this machine keeps of runs' files is gone."""
    with scenery.disk.noted():
        gone = [folder for folder in scenery.stage.workspaces.iterdir() if folder.is_dir()]
        for folder in gone:
            shutil.rmtree(folder, ignore_errors=True)
    return f"{len(gone)} folders" if gone else Missed("no folders")


def free_disk(scenery: Scenery) -> None:
    """Remove the files of runs that are over, as an operator would: our disk is small."""
    disk = os.statvfs(scenery.stage.workspaces)
    if disk.f_bavail >= disk.f_blocks * 0.5:
        return
    with suppress(psycopg2.Error), _cursor(scenery) as cursor:
        cursor.execute("SELECT id FROM runs WHERE state = ANY(%s)", (list(OVER),))
        over = {row[0] for row in cursor.fetchall()} - set(scenery.load.open)
        for folder in scenery.stage.workspaces.iterdir():
            if folder.is_dir() and folder.name.partition("~")[0] in over:
                shutil.rmtree(folder, ignore_errors=True)


def _filled(scenery: Scenery, disk: Path) -> str:
    if not scenery.stage.disks:
        return Impossible("no disks of our own here")
    ballast = disk / "ballast"
    try:
        with suppress(OSError), ballast.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(BLOCK))
        scenery.pause(4)
    finally:
        ballast.unlink(missing_ok=True)
    return ""


def _answered(scenery: Scenery, dice: random.Random, asked: Asked) -> tuple[float, float]:
    """Ask for a run and for the status, wait two seconds; gives how long each answer took."""
    head = {"Idempotency-Key": asked.key}
    created = _seconds(scenery, dice, "POST", asked.path, json=asked.form, headers=head)
    status = _seconds(scenery, dice, "GET", "/v1/status")
    scenery.pause(2)
    return created, status


def _seconds(scenery: Scenery, dice: random.Random, method: str, path: str, **more: Any) -> float:
    """How long it took until there was an answer of use; for ever where there was none."""
    began = time.monotonic()
    with suppress(httpx.HTTPError, IndexError):  # nobody may be there to be asked
        url = dice.choice(scenery.stage.fleet.urls())
        if httpx.request(method, url + path, timeout=20, **more).status_code < 500:
            return time.monotonic() - began
    return float("inf")


@contextmanager
def _cursor(scenery: Scenery) -> Iterator[psycopg2.extensions.cursor]:
    connection = scenery.stage.database()
    try:
        yield connection.cursor()
    finally:
        connection.close()


OUTAGES = (psycopg2.Error, redis.RedisError, OSError)
