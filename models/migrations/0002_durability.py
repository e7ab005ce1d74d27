"""The ledger of acts; steps that wait for others; where runs came from and why they stand still."""

from __future__ import annotations

from typing import Any

TABLES = """
ALTER TABLE runs ADD COLUMN agent_id VARCHAR(128);
ALTER TABLE runs ADD COLUMN parent_id VARCHAR(128);
ALTER TABLE runs ADD COLUMN origin_id VARCHAR(128);
ALTER TABLE runs ADD COLUMN pause_reason VARCHAR(32);
ALTER TABLE runs ADD COLUMN quarantined BOOLEAN NOT NULL DEFAULT false;
ALTER TABLE runs ALTER COLUMN quarantined DROP DEFAULT;
CREATE INDEX runs_agent_id_created_at_id ON runs (agent_id, created_at, id);
CREATE INDEX runs_task_id_created_at_id ON runs (task_id, created_at, id);
CREATE INDEX runs_parent_id ON runs (parent_id);

ALTER TABLE steps ADD COLUMN queue VARCHAR(16) NOT NULL DEFAULT 'agents';
ALTER TABLE steps ALTER COLUMN queue DROP DEFAULT;
ALTER TABLE steps ADD COLUMN origin_id VARCHAR(128);
ALTER TABLE steps ADD COLUMN waits_for VARCHAR(128);
ALTER TABLE steps ADD COLUMN mark INTEGER NOT NULL DEFAULT 0;
ALTER TABLE steps ALTER COLUMN mark DROP DEFAULT;

ALTER TABLE processes ADD COLUMN tag VARCHAR(16) NOT NULL DEFAULT '';
ALTER TABLE processes ALTER COLUMN tag DROP DEFAULT;

CREATE TABLE ledger (
    execution_id VARCHAR(128) NOT NULL,
    seq INTEGER NOT NULL,
    kind VARCHAR(16) NOT NULL,
    name VARCHAR(256) NOT NULL,
    key VARCHAR(64) NOT NULL,
    request JSONB,
    response JSONB,
    "commit" VARCHAR(64),
    snapshot VARCHAR(64),
    tries INTEGER NOT NULL,
    claimed_at BIGINT NOT NULL,
    sealed_at BIGINT,
    PRIMARY KEY (execution_id, seq),
    FOREIGN KEY (execution_id) REFERENCES steps (id) ON DELETE CASCADE
);
"""


# what models cannot say
INVARIANTS = """
DROP INDEX steps_one_active;
CREATE UNIQUE INDEX steps_one_active ON steps (run_id)
    WHERE state IN ('queued', 'running', 'waiting');
ALTER TABLE steps ADD CONSTRAINT steps_waiting_know_for_whom CHECK (
    state <> 'waiting' OR waits_for IS NOT NULL);
"""


def up(migrator: Any, db: Any) -> None:
    db.execute_sql(TABLES)
    db.execute_sql(INVARIANTS)


def down(migrator: Any, db: Any) -> None:
    db.execute_sql(
        """
        DROP TABLE ledger;
        ALTER TABLE processes DROP COLUMN tag;
        DROP INDEX steps_one_active;
        CREATE UNIQUE INDEX steps_one_active ON steps (run_id) WHERE state IN ('queued', 'running');
        ALTER TABLE steps DROP CONSTRAINT steps_waiting_know_for_whom;
        ALTER TABLE steps DROP COLUMN queue, DROP COLUMN origin_id, DROP COLUMN waits_for,
            DROP COLUMN mark;
        DROP INDEX runs_agent_id_created_at_id, runs_task_id_created_at_id, runs_parent_id;
        ALTER TABLE runs DROP COLUMN agent_id, DROP COLUMN parent_id, DROP COLUMN origin_id,
            DROP COLUMN pause_reason, DROP COLUMN quarantined;
        """
    )
