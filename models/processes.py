"""The processes that are alive: what they serve and when they were last heard of."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence

from peewee import CharField, IntegerField

from models.base import JsonField, Model, Moment, db, id_field, now_ms, tag

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
    seen_at = Moment(default=now_ms, index=True)

    class Meta:
        table_name = "processes"


def register(kind: str, queues: Sequence[str] = ()) -> Process:
    """Write this process down."""
    host = socket.gethostname()
    return Process.create(kind=kind, host=host, pid=os.getpid(), queues=list(queues))


def heartbeat(process: Process) -> None:
    """Say that this process is alive; forget those that have not been for a while."""
    now = now_ms()
    row = {**process.__data__, "seen_at": now}
    Process.insert(row).on_conflict(conflict_target=[Process.id], update={"seen_at": now}).execute()
    Process.delete().where(Process.seen_at < now - 10 * GONE_MS).execute()


def leave(process: Process) -> None:
    """Strike this process off."""
    Process.delete().where(Process.id == process.id).execute()


def alive(kind: str = "worker") -> int:
    """How many processes of a kind have been heard of lately."""
    recent = (Process.kind == kind) & (Process.seen_at > now_ms() - GONE_MS)
    return int(Process.select().where(recent).count())


def deaths(within_ms: int) -> int:
    """How many workers have ended lately without taking their leave, and have no connections."""
    rows = db.execute_sql(
        """
        SELECT count(*) FROM processes WHERE kind = 'worker' AND seen_at > %s AND NOT EXISTS (
            SELECT FROM pg_stat_activity WHERE application_name = 'djinnbot ' || tag)
        """,
        (now_ms() - within_ms,),
    )
    return int(rows.fetchone()[0])
