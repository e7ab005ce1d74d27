"""How the whole is doing: probes that take little time and never raise."""

from __future__ import annotations

from typing import Any

import peewee
from peewee import SQL, fn
from playhouse.pool import MaxConnectionsExceeded

from models import processes, runs, streams, waiting
from models.agents import Agent
from models.base import db, now_ms
from models.config import Settings
from models.logs import log
from models.pipelines import Pipeline
from models.runs import Run

HOUR_MS = 3_600_000
UNREACHABLE = (peewee.OperationalError, peewee.InterfaceError, MaxConnectionsExceeded)
NOTHING = {
    "active_runs": 0,
    "total_pipelines": 0,
    "total_agents": 0,
    "completed_runs_last_hour": 0,
    "avg_duration": "0s",
    "workers": 0,
    "queue_depth": 0,
}


def figures() -> dict[str, Any] | None:
    """Counts of what there is; None when the database does not answer."""
    try:
        count, average = _lately()
        return {
            "active_runs": Run.select().where(Run.state == runs.RUNNING).count(),
            "total_pipelines": Pipeline.select().count(),
            "total_agents": Agent.select().count(),
            "completed_runs_last_hour": count,
            "avg_duration": spoken(average),
            "workers": processes.alive("worker"),
            "queue_depth": sum(late.number for late in waiting.forgotten(0).values()),
        }
    except UNREACHABLE as error:
        log.info("database does not answer", error=str(error).strip())
        return None


def report(settings: Settings) -> dict[str, Any]:
    """Everything `GET /v1/status` says."""
    counted = figures()
    hears = streams.answers(settings.redis_url)
    return {
        "status": "ok" if counted is not None and hears else "degraded",
        "version": settings.build_version,
        "engine_version": settings.build_version,
        "redis_connected": hears,
        "database_connected": counted is not None,
        "storage": {
            "juicefs_mounted": False,
            "rustfs_healthy": settings.data.is_dir(),
            "data_path": str(settings.data),
        },
        "github": {"configured": not settings.github.missing, "healthy": not settings.github.fault},
        **(counted or NOTHING),
    }


def spoken(milliseconds: float) -> str:
    """A duration as people say it: 4s, 3m 20s, 1h 5m."""
    seconds = round(milliseconds / 1000)
    if seconds < 60:
        return f"{seconds}s"
    if seconds < 3600:
        return f"{seconds // 60}m {seconds % 60}s"
    return f"{seconds // 3600}h {seconds % 3600 // 60}m"


def _lately() -> tuple[int, float]:
    """How many runs were completed in the last hour, and how long they took on average (ms)."""
    done = (Run.state == runs.COMPLETED) & (Run.completed_at > now_ms() - HOUR_MS)
    duration = fn.coalesce(fn.avg(Run.completed_at - Run.started_at), 0)
    row: Any = Run.select(fn.count(SQL("*")), duration).where(done).tuples().get()
    count, average = row
    return int(count), float(average)


def migrated() -> bool:
    """Whether the database answers and has every table the code expects."""
    from models import migrations

    try:
        return not migrations.pending(db)
    except UNREACHABLE as error:
        log.info("database does not answer", error=str(error).strip())
        return False
