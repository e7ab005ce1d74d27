"""Swarms and their tasks."""

from __future__ import annotations

from typing import Any

TABLES = """
CREATE TABLE swarms (
    id VARCHAR(128) NOT NULL PRIMARY KEY,
    state VARCHAR(16) NOT NULL,
    owner_id VARCHAR(128),
    agent_id VARCHAR(128) NOT NULL,
    parent_id VARCHAR(128),
    asked_by VARCHAR(144),
    max_concurrent INTEGER NOT NULL,
    deviation_rules TEXT NOT NULL,
    global_timeout_seconds INTEGER NOT NULL,
    deadline BIGINT NOT NULL,
    starts JSONB NOT NULL,
    merges JSONB,
    error TEXT,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    started_at BIGINT,
    completed_at BIGINT
);
CREATE UNIQUE INDEX swarms_asked_by ON swarms (asked_by);
CREATE INDEX swarms_created_at_id ON swarms (created_at, id);
CREATE INDEX swarms_owner_id_created_at_id ON swarms (owner_id, created_at, id);
CREATE INDEX swarms_parent_id ON swarms (parent_id);

CREATE TABLE swarm_tasks (
    id VARCHAR(128) NOT NULL PRIMARY KEY,
    swarm_id VARCHAR(128) NOT NULL,
    number INTEGER NOT NULL,
    key VARCHAR(64) NOT NULL,
    title TEXT NOT NULL,
    project_id VARCHAR(128) NOT NULL,
    task_id VARCHAR(128) NOT NULL,
    execution_prompt TEXT NOT NULL,
    dependencies JSONB NOT NULL,
    model VARCHAR(256),
    timeout_seconds INTEGER,
    state VARCHAR(16) NOT NULL,
    branch VARCHAR(256) NOT NULL,
    run_id VARCHAR(128),
    "commit" VARCHAR(64),
    snapshot VARCHAR(64),
    outputs JSONB,
    error TEXT,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    started_at BIGINT,
    completed_at BIGINT,
    FOREIGN KEY (swarm_id) REFERENCES swarms (id) ON DELETE CASCADE
);
CREATE UNIQUE INDEX swarm_tasks_swarm_id_key ON swarm_tasks (swarm_id, key);
CREATE INDEX swarm_tasks_run_id ON swarm_tasks (run_id);
"""

# what models cannot say
INVARIANTS = """
CREATE INDEX swarms_active ON swarms (updated_at) WHERE state IN ('pending', 'running', 'merging');
ALTER TABLE swarms ADD CONSTRAINT swarms_end_has_a_time CHECK (
    (state IN ('completed', 'failed', 'cancelled')) = (completed_at IS NOT NULL));
ALTER TABLE swarm_tasks ADD CONSTRAINT swarm_tasks_running_have_a_run CHECK (
    state <> 'running' OR run_id IS NOT NULL);
ALTER TABLE swarm_tasks ADD CONSTRAINT swarm_tasks_end_has_a_time CHECK (
    (state IN ('completed', 'failed', 'cancelled', 'skipped')) = (completed_at IS NOT NULL));
"""


def up(migrator: Any, db: Any) -> None:
    db.execute_sql(TABLES)
    db.execute_sql(INVARIANTS)


def down(migrator: Any, db: Any) -> None:
    db.execute_sql("DROP TABLE swarm_tasks, swarms")
