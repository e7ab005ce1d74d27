"""A swarm is seen by those who work on its project, as its executors' runs are."""

from __future__ import annotations

from typing import Any

BELONGING = """
ALTER TABLE swarms ADD COLUMN project_id VARCHAR(128);
CREATE INDEX swarms_project_id_created_at_id ON swarms (project_id, created_at, id);
"""
FILLED = """
WITH belonging AS (
    SELECT swarm_id, min(runs.project_id) AS project_id
    FROM swarm_tasks LEFT JOIN runs ON runs.id = swarm_tasks.run_id
    GROUP BY swarm_id HAVING count(DISTINCT swarm_tasks.project_id) = 1
)
UPDATE swarms SET project_id = belonging.project_id FROM belonging
WHERE belonging.swarm_id = swarms.id
"""


def up(migrator: Any, db: Any) -> None:
    db.execute_sql(BELONGING)
    db.execute_sql(FILLED)


def down(migrator: Any, db: Any) -> None:
    db.execute_sql("ALTER TABLE swarms DROP COLUMN project_id")
