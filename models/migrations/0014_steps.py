"""Acts that were lost with their workers; how long steps were worked on; merges asked again."""

from __future__ import annotations

from typing import Any

# The defaults stay: while a deploy rolls, older processes write these rows too.
COLUMNS = """
ALTER TABLE ledger ADD COLUMN lost BOOLEAN NOT NULL DEFAULT false;
ALTER TABLE steps ADD COLUMN worked_ms BIGINT NOT NULL DEFAULT 0;
ALTER TABLE swarms ADD COLUMN asked_at BIGINT;
"""


def up(migrator: Any, db: Any) -> None:
    db.execute_sql(COLUMNS)


def down(migrator: Any, db: Any) -> None:
    db.execute_sql(
        """
        ALTER TABLE ledger DROP COLUMN lost;
        ALTER TABLE steps DROP COLUMN worked_ms;
        ALTER TABLE swarms DROP COLUMN asked_at;
        """
    )
