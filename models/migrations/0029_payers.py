"""Every run names all those above it, whose budgets it keeps to; and no session rests unseen."""

from __future__ import annotations

from typing import Any

PAYERS = """
ALTER TABLE runs ADD COLUMN payers JSONB NOT NULL DEFAULT '[]';
CREATE INDEX runs_payers ON runs USING gin (payers) WHERE parent_id IS NOT NULL;
"""
FILLED = """
WITH RECURSIVE lines AS (
    SELECT id, parent_id AS above, jsonb_build_array(parent_id) AS payers
    FROM runs WHERE parent_id IS NOT NULL
    UNION ALL
    SELECT lines.id, parents.parent_id, lines.payers || to_jsonb(parents.parent_id)
    FROM lines JOIN runs AS parents ON parents.id = lines.above
    WHERE parents.parent_id IS NOT NULL AND jsonb_array_length(lines.payers) < 32
), whole AS (
    SELECT DISTINCT ON (id) id, payers FROM lines ORDER BY id, jsonb_array_length(payers) DESC
)
UPDATE runs SET payers = whole.payers FROM whole WHERE whole.id = runs.id
"""
# Nobody could resume these. The sweep has them taken up, and what their budgets have no room for
# fails.
RESUMED = """
UPDATE runs SET state = 'running', pause_reason = NULL,
    updated_at = (extract(epoch FROM clock_timestamp()) * 1000)::bigint
WHERE state = 'paused' AND kind IN ('chat', 'pulse', 'wake')
"""


def up(migrator: Any, db: Any) -> None:
    db.execute_sql(PAYERS)
    db.execute_sql(FILLED)
    db.execute_sql(RESUMED)


def down(migrator: Any, db: Any) -> None:
    db.execute_sql("ALTER TABLE runs DROP COLUMN payers")
