"""The schema, step by step; `migrate` applies what is missing, one process at a time."""

from __future__ import annotations

from pathlib import Path

from playhouse.migrations import Runner
from playhouse.pool import PooledPostgresqlDatabase

LOCK = 0x646A_6D69  # the advisory lock of whoever migrates


def migrate(db: PooledPostgresqlDatabase) -> list[str]:
    """Apply the pending migrations in order; gives their names. Others wait meanwhile."""
    db.execute_sql("SELECT pg_advisory_lock(%s)", (LOCK,))
    try:
        return list(Runner(db, str(Path(__file__).parent)).up())
    finally:
        db.execute_sql("SELECT pg_advisory_unlock(%s)", (LOCK,))


def pending(db: PooledPostgresqlDatabase) -> list[str]:
    """The names of migrations that have not been applied."""
    status = Runner(db, str(Path(__file__).parent)).status()
    return [step.name for step in status if step.path is not None and not step.applied]
