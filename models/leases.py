"""Leases as rows: whoever works on a step prolongs its lease; whose lease ran out was lost.

The database's clock decides, so a worker with a wrong one can neither steal a lease nor keep one.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from models import steps
from models.base import CLOCK, TAG_LENGTH, db
from models.steps import Step

MISSED_MS = 1_600  # after which a worker has missed two beats


def renew(leases: Collection[str]) -> tuple[set[str], set[str]]:
    """The leases that are still ours, and those that were prolonged.

    The others were cancelled, paused or taken over. A step that somebody is writing to just now
    waits for the next time: whoever was stopped amid a transaction must not cost all the others
    their leases. It may well be given to another just now, so it is not good for longer.
    """
    if not leases:
        return set(), set()
    rows = db.execute_sql(
        f"""
        WITH mine AS MATERIALIZED (
            SELECT id, lease_id FROM steps WHERE lease_id = ANY(%s) AND state = 'running'
        ), free AS MATERIALIZED (
            SELECT id FROM steps WHERE id IN (SELECT id FROM mine)
            ORDER BY id FOR NO KEY UPDATE SKIP LOCKED
        ), renewed AS (
            UPDATE steps
            SET leased_until = {CLOCK} + %s
            FROM free, mine
            WHERE steps.id = free.id AND mine.id = free.id
                AND steps.state = 'running' AND steps.lease_id = mine.lease_id
            RETURNING steps.lease_id
        )
        SELECT lease_id, lease_id IN (SELECT lease_id FROM renewed) FROM mine
        """,  # noqa: S608
        (list(leases), steps.LEASE_MS),
    )
    ours = dict(rows)
    return set(ours), {lease for lease, prolonged in ours.items() if prolonged}


# A worker was lost when its leases ran out, and already when it has missed two beats and Postgres
# has no connection of its process any more. While Postgres was away itself nobody could beat.
SILENT = f"""
    state = 'running' AND (leased_until < {CLOCK}
        OR leased_until < {CLOCK} + {steps.LEASE_MS - MISSED_MS}
        AND NOT EXISTS (SELECT FROM pg_stat_activity
                        WHERE application_name = 'djinnbot ' || left(lease_id, {TAG_LENGTH})))
    AND pg_postmaster_start_time() < clock_timestamp() - {steps.LEASE_MS} * interval '1 millisecond'
"""


def expired(limit: int = 100) -> Sequence[Step]:
    """The steps whose workers were lost."""
    return list(Step.raw(f"SELECT * FROM steps WHERE {SILENT} LIMIT %s", limit))  # noqa: S608


def silent(execution_id: str) -> Step | None:
    """The step under its row lock, if its worker was lost: nobody can prolong its lease now."""
    text = f"SELECT * FROM steps WHERE id = %s AND {SILENT} FOR NO KEY UPDATE"  # noqa: S608
    return next(iter(Step.raw(text, execution_id)), None)
