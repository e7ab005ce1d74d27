"""What runs have left is pushed to the repositories of their projects."""

from __future__ import annotations

from typing import Any

TABLES = """
CREATE TABLE pushes (
    id VARCHAR(128) NOT NULL PRIMARY KEY,
    project_id VARCHAR(128) NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    source VARCHAR(288) NOT NULL,
    run_id VARCHAR(128) REFERENCES runs (id) ON DELETE CASCADE,
    task_id VARCHAR(128),
    branch VARCHAR(256) NOT NULL,
    commit VARCHAR(64) NOT NULL,
    snapshot VARCHAR(64) NOT NULL,
    opens JSONB,
    state VARCHAR(16) NOT NULL,
    tries INTEGER NOT NULL,
    due_at BIGINT NOT NULL,
    error TEXT,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    pushed_at BIGINT,
    CHECK (state <> 'pushed' OR pushed_at IS NOT NULL)
);
CREATE UNIQUE INDEX pushes_source ON pushes (source);
CREATE INDEX pushes_run_id ON pushes (run_id);
CREATE INDEX pushes_project_id_branch_created_at ON pushes (project_id, branch, created_at);
CREATE INDEX pushes_queued ON pushes (due_at) WHERE state = 'queued';
"""


def up(migrator: Any, db: Any) -> None:
    db.execute_sql(TABLES)


def down(migrator: Any, db: Any) -> None:
    db.execute_sql("DROP TABLE pushes")
