"""The processes that are alive: what they serve and when they were last heard of."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence

from peewee import CharField, IntegerField

from models.base import CLOCK, JsonField, Model, Moment, Touched, db, id_field, now_ms, tag

HEARTBEAT_MS = 5_000
GONE_MS = 20_000


class Process(Model):
    """One worker or clock process and its latest heartbeat."""

    id = id_field("proc_")
    kind = CharField(max_length=16)
    host = CharField(max_length=256)
    pid = IntegerField()
    tag = CharField(max_length=16, default=tag)  # by which Postgres knows its connections
    queues = JsonField(default=list)
    started_at = Moment(default=now_ms)
    seen_at = Touched(index=True)

    class Meta:
        table_name = "processes"


def register(kind: str, queues: Sequence[str] = ()) -> Process:
    """Write this process down."""
    host = socket.gethostname()
    return Process(kind=kind, host=host, pid=os.getpid(), queues=list(queues)).add()


def heartbeat(process: Process) -> None:
    """Say that this process is alive; forget those that have not been for a while."""
    insertion, values = process.insertion()
    db.now(f"{insertion} ON CONFLICT (id) DO UPDATE SET seen_at = {CLOCK}", values)
    old = f"DELETE FROM processes WHERE seen_at < {CLOCK} - %s"  # noqa: S608
    db.now(old, (10 * GONE_MS,))


def leave(process: Process) -> None:
    """Strike this process off."""
    Process.delete().where(Process.id == process.id).execute()


def alive(kind: str = "worker") -> int:
    """How many processes of a kind have been heard of lately."""
    text = f"SELECT count(*) FROM processes WHERE kind = %s AND seen_at > {CLOCK} - %s"  # noqa: S608
    return int(db.now(text, (kind, GONE_MS)).fetchone()[0])


def deaths(within_ms: int) -> int:
    """How many workers have ended lately without taking their leave, and have no connections."""
    rows = db.execute_sql(
        f"""
        SELECT count(*) FROM processes WHERE kind = 'worker' AND seen_at > {CLOCK} - %s
            AND NOT EXISTS (
                SELECT FROM pg_stat_activity WHERE application_name = 'djinnbot ' || tag)
        """,  # noqa: S608
        (within_ms,),
    )
    return int(rows.fetchone()[0])
