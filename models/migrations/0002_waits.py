"""What a failed step says of its next try: how long to wait for it, or that there is no point."""

from __future__ import annotations

from typing import Any


def up(migrator: Any, db: Any) -> None:
    db.execute_sql("ALTER TABLE steps ADD COLUMN wait_ms INTEGER NOT NULL DEFAULT 0")
    db.execute_sql("ALTER TABLE steps ADD COLUMN final BOOLEAN NOT NULL DEFAULT false")


def down(migrator: Any, db: Any) -> None:
    db.execute_sql("ALTER TABLE steps DROP COLUMN wait_ms, DROP COLUMN final")
