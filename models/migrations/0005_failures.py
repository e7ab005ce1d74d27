"""Jobs that raised leave a row."""

from __future__ import annotations

from typing import Any

TABLES = """
CREATE TABLE failures (
    id VARCHAR(64) NOT NULL PRIMARY KEY,
    queue VARCHAR(64) NOT NULL,
    task VARCHAR(128) NOT NULL,
    arguments JSONB NOT NULL,
    tries INTEGER NOT NULL,
    error TEXT NOT NULL,
    failed_at BIGINT NOT NULL,
    due_at BIGINT
);
CREATE INDEX failures_due_at ON failures (due_at);
"""


def up(migrator: Any, db: Any) -> None:
    db.execute_sql(TABLES)


def down(migrator: Any, db: Any) -> None:
    db.execute_sql("DROP TABLE failures")
