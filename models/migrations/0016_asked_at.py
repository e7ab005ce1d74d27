"""Requests say since when they wait, by the database's clock."""

from __future__ import annotations

from typing import Any


def up(migrator: Any, db: Any) -> None:
    db.execute_sql(
        """
        ALTER TABLE outbox ADD COLUMN asked_at BIGINT NOT NULL
            DEFAULT (extract(epoch FROM clock_timestamp()) * 1000)::bigint
        """
    )


def down(migrator: Any, db: Any) -> None:
    db.execute_sql("ALTER TABLE outbox DROP COLUMN asked_at")
