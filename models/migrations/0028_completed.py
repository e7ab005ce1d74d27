"""Which runs were completed lately is asked all the time: found without a look at all others."""

from __future__ import annotations

from typing import Any


def up(migrator: Any, db: Any) -> None:
    db.execute_sql("CREATE INDEX runs_completed ON runs (completed_at) WHERE state = 'completed'")


def down(migrator: Any, db: Any) -> None:
    db.execute_sql("DROP INDEX runs_completed")
