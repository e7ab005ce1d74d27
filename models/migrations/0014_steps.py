"""Acts that were lost with their workers; when the sweep asked for a merge."""

from __future__ import annotations

from typing import Any

# The default stays: while a deploy rolls, older processes write these rows too.
COLUMNS = """
ALTER TABLE ledger ADD COLUMN lost BOOLEAN NOT NULL DEFAULT false;
ALTER TABLE swarms ADD COLUMN asked_at BIGINT;
"""


def up(migrator: Any, db: Any) -> None:
    db.execute_sql(COLUMNS)


def down(migrator: Any, db: Any) -> None:
    db.execute_sql(
        """
        ALTER TABLE ledger DROP COLUMN lost;
        ALTER TABLE swarms DROP COLUMN asked_at;
        """
    )
