"""A step that something outside hinders goes on where it was, instead of beginning anew.

Executions that ended so far because a provider was to blame, and cost no retry, no longer count.
What said so is left with defaults: while a deploy rolls, older processes write it. It can go later.
"""

from __future__ import annotations

from typing import Any


def up(migrator: Any, db: Any) -> None:
    db.execute_sql(
        """
        UPDATE steps SET superseded = true
        WHERE transient AND state = 'failed' AND EXISTS (
            SELECT FROM steps AS later
            WHERE later.run_id = steps.run_id AND later.attempt = steps.attempt
                AND later.step_id = steps.step_id AND later.visit = steps.visit
                AND later.retry = steps.retry AND later.number > steps.number);
        ALTER TABLE steps ALTER COLUMN transient SET DEFAULT false,
            ALTER COLUMN wait_ms SET DEFAULT 0,
            ADD COLUMN hindrances INTEGER NOT NULL DEFAULT 0;
        """
    )


def down(migrator: Any, db: Any) -> None:
    db.execute_sql("ALTER TABLE steps DROP COLUMN hindrances")
