"""Faults of what the product stands on: Redis, Postgres, the model's provider, the disk."""

from __future__ import annotations

import os
import random
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx2 as httpx
import psycopg2
import redis

from tests.processes.chaos.model import TROUBLE
from tests.processes.chaos.scenery import Missed, Scenery

BLOCK = 1 << 20
ANSWERED = 1.5  # seconds: three times what an answer may take, because machines are busy


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
        scenery.stage.proxy.fall_silent()
        try:
            seconds = sorted(_answered(scenery, dice) for _ in range(10))
        finally:
            scenery.stage.proxy.speak()
    told = f"answers of the API took {seconds[4]:.2f} s, the slowest {seconds[-1]:.2f} s"
    if seconds[4] > ANSWERED:  # the slowest may have met another fault
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
    if not scenery.stage.disk:
        told = lose_folder(scenery, dice)
        return type(told)(f"no disk of our own here; {told}")
    ballast = scenery.stage.workspaces / "ballast"
    scenery.disk_trouble.append(time.time())
    try:
        with suppress(OSError), ballast.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(BLOCK))
        scenery.pause(4)
    finally:
        ballast.unlink(missing_ok=True)
    return ""


def lose_folder(scenery: Scenery, dice: random.Random) -> str:
    """F23: what this machine keeps of runs' files is gone."""
    scenery.disk_trouble.append(time.time())
    gone = 0
    for folder in scenery.stage.workspaces.iterdir():
        if folder.is_dir():
            shutil.rmtree(folder, ignore_errors=True)
            gone += 1
    return f"{gone} folders" if gone else Missed("no folders")


def free_disk(scenery: Scenery) -> None:
    """Remove the files of runs that are long over, as an operator would: our disk is small."""
    disk = os.statvfs(scenery.stage.workspaces)
    if disk.f_bavail < disk.f_blocks * 0.5:
        for folder in sorted(scenery.stage.workspaces.iterdir(), key=_age)[:200]:
            if folder.name not in scenery.load.open and folder.is_dir():
                shutil.rmtree(folder, ignore_errors=True)


def _age(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _answered(scenery: Scenery, dice: random.Random) -> float:
    """Ask for a list of runs, wait a second; gives how long the answer took."""
    began = time.monotonic()
    with suppress(httpx.HTTPError):
        httpx.get(f"{dice.choice(scenery.stage.fleet.urls())}/v1/runs?limit=1", timeout=20)
    seconds = time.monotonic() - began
    scenery.pause(1)
    return seconds


@contextmanager
def _cursor(scenery: Scenery) -> Iterator[psycopg2.extensions.cursor]:
    connection = scenery.stage.database()
    try:
        yield connection.cursor()
    finally:
        connection.close()


OUTAGES = (psycopg2.Error, redis.RedisError, OSError)
