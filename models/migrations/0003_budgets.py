"""Budgets: what runs and users may spend, and what calls under way have set aside of it."""

from __future__ import annotations

from typing import Any

TABLES = """
ALTER TABLE runs ADD COLUMN budgeted BOOLEAN NOT NULL DEFAULT false;
ALTER TABLE runs ALTER COLUMN budgeted DROP DEFAULT;

CREATE TABLE budgets (
    key VARCHAR(160) NOT NULL PRIMARY KEY,
    run_id VARCHAR(128),
    limit_usd NUMERIC(16, 8),
    limit_tokens BIGINT,
    spent_usd NUMERIC(16, 8) NOT NULL,
    spent_tokens BIGINT NOT NULL,
    reserved_usd NUMERIC(16, 8) NOT NULL,
    reserved_tokens BIGINT NOT NULL,
    FOREIGN KEY (run_id) REFERENCES runs (id) ON DELETE CASCADE
);
CREATE INDEX budgets_run_id ON budgets (run_id);

CREATE TABLE reservations (
    execution_id VARCHAR(128) NOT NULL,
    key VARCHAR(160) NOT NULL,
    usd NUMERIC(16, 8) NOT NULL,
    tokens BIGINT NOT NULL,
    PRIMARY KEY (execution_id, key)
);
"""

INVARIANTS = """
ALTER TABLE budgets ADD CONSTRAINT budgets_nothing_below_zero CHECK (
    spent_usd >= 0 AND spent_tokens >= 0 AND reserved_usd >= 0 AND reserved_tokens >= 0
    AND (limit_usd IS NULL OR limit_usd >= 0) AND (limit_tokens IS NULL OR limit_tokens >= 0));
ALTER TABLE reservations ADD CONSTRAINT reservations_nothing_below_zero CHECK (
    usd >= 0 AND tokens >= 0);
"""


def up(migrator: Any, db: Any) -> None:
    db.execute_sql(TABLES)
    db.execute_sql(INVARIANTS)


def down(migrator: Any, db: Any) -> None:
    db.execute_sql("DROP TABLE reservations, budgets; ALTER TABLE runs DROP COLUMN budgeted")
