"""What agents do by themselves now and again, and each time that it came up."""

from __future__ import annotations

from typing import Any

TABLES = """
CREATE TABLE pulse_routines (
    id VARCHAR(128) NOT NULL PRIMARY KEY,
    agent_id VARCHAR(128) NOT NULL REFERENCES agents (id) ON DELETE CASCADE,
    owner_id VARCHAR(128) NOT NULL,
    name VARCHAR(256) NOT NULL,
    description TEXT,
    instructions TEXT NOT NULL,
    enabled BOOLEAN NOT NULL,
    interval_minutes INTEGER NOT NULL CHECK (interval_minutes BETWEEN 1 AND 10080),
    offset_minutes INTEGER NOT NULL CHECK (offset_minutes BETWEEN 0 AND interval_minutes - 1),
    timezone VARCHAR(64) NOT NULL,
    blackouts JSONB NOT NULL,
    one_offs JSONB NOT NULL,
    timeout_ms INTEGER,
    max_concurrent INTEGER NOT NULL,
    pulse_columns JSONB,
    planning_model VARCHAR(256),
    executor_model VARCHAR(256),
    executor_timeout_sec INTEGER,
    tools JSONB,
    stage_affinity JSONB,
    task_work_types JSONB,
    color VARCHAR(32),
    sort_order INTEGER NOT NULL,
    last_run_at BIGINT,
    total_runs INTEGER NOT NULL,
    skipped INTEGER NOT NULL,
    seen_until BIGINT NOT NULL,
    look_at BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX pulse_routines_agent_id_owner_id_name
    ON pulse_routines (agent_id, owner_id, name);
CREATE INDEX pulse_routines_owner_id_agent_id ON pulse_routines (owner_id, agent_id);
CREATE INDEX pulse_routines_due ON pulse_routines (look_at, id) WHERE enabled;

CREATE TABLE pulse_firings (
    id VARCHAR(128) NOT NULL PRIMARY KEY,
    state VARCHAR(16) NOT NULL,
    routine_id VARCHAR(128) NOT NULL,
    agent_id VARCHAR(128) NOT NULL,
    owner_id VARCHAR(128) NOT NULL,
    scheduled_at BIGINT NOT NULL,
    source VARCHAR(16) NOT NULL,
    run_id VARCHAR(128),
    reason TEXT,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    CHECK (state IN ('pending', 'skipped', 'cancelled') OR run_id IS NOT NULL)
);
CREATE UNIQUE INDEX pulse_firings_routine_id_scheduled_at
    ON pulse_firings (routine_id, scheduled_at);
CREATE INDEX pulse_firings_agent_id_created_at ON pulse_firings (agent_id, created_at);
CREATE INDEX pulse_firings_run_id ON pulse_firings (run_id);
CREATE INDEX pulse_firings_created_at ON pulse_firings (created_at);
CREATE INDEX pulse_firings_open ON pulse_firings (agent_id, updated_at)
    WHERE state IN ('pending', 'running');
"""


def up(migrator: Any, db: Any) -> None:
    db.execute_sql(TABLES)


def down(migrator: Any, db: Any) -> None:
    db.execute_sql("DROP TABLE pulse_firings; DROP TABLE pulse_routines")
