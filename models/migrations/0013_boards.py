"""Boards: templates, columns, tasks and what they wait for, their runs, policies, repositories."""

from __future__ import annotations

from typing import Any

TABLES = """
CREATE TABLE project_templates (
    id VARCHAR(128) NOT NULL PRIMARY KEY,
    slug VARCHAR(64) NOT NULL,
    name VARCHAR(256) NOT NULL,
    description TEXT NOT NULL,
    icon VARCHAR(64) NOT NULL,
    is_builtin BOOLEAN NOT NULL,
    customized BOOLEAN NOT NULL,
    columns JSONB NOT NULL,
    status_semantics JSONB NOT NULL,
    default_pipeline_id VARCHAR(128),
    onboarding_agent_chain JSONB NOT NULL,
    metadata JSONB NOT NULL,
    stage_rules JSONB,
    sort_order INTEGER NOT NULL,
    created_by VARCHAR(128),
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX project_templates_slug ON project_templates (slug);
CREATE INDEX project_templates_sort_order_id ON project_templates (sort_order, id);

CREATE TABLE kanban_columns (
    id VARCHAR(128) NOT NULL PRIMARY KEY,
    project_id VARCHAR(128) NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    name VARCHAR(128) NOT NULL,
    position INTEGER NOT NULL,
    wip_limit INTEGER,
    task_statuses JSONB NOT NULL
);
CREATE INDEX kanban_columns_project_id_position ON kanban_columns (project_id, position);

CREATE TABLE tasks (
    id VARCHAR(128) NOT NULL PRIMARY KEY,
    project_id VARCHAR(128) NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    title VARCHAR(512) NOT NULL,
    description TEXT NOT NULL,
    status VARCHAR(32) NOT NULL,
    priority VARCHAR(8) NOT NULL,
    assigned_agent VARCHAR(128),
    workflow_id VARCHAR(128),
    pipeline_id VARCHAR(128),
    run_id VARCHAR(128),
    parent_task_id VARCHAR(128) REFERENCES tasks (id) ON DELETE SET NULL,
    tags JSONB NOT NULL,
    estimated_hours REAL,
    column_id VARCHAR(128) NOT NULL REFERENCES kanban_columns (id)
        ON DELETE NO ACTION DEFERRABLE INITIALLY DEFERRED,
    column_position INTEGER NOT NULL,
    metadata JSONB NOT NULL,
    work_type VARCHAR(32),
    completed_stages JSONB NOT NULL,
    spec_review_status VARCHAR(16),
    quality_review_status VARCHAR(16),
    spec_review_notes TEXT,
    quality_review_notes TEXT,
    held_from VARCHAR(32),
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    completed_at BIGINT
);
CREATE INDEX tasks_parent_task_id ON tasks (parent_task_id);
CREATE INDEX tasks_project_id_status_priority_column_position_id
    ON tasks (project_id, status, priority, column_position, id);
CREATE INDEX tasks_project_id_column_position_id ON tasks (project_id, column_position, id);
CREATE INDEX tasks_column_id_column_position ON tasks (column_id, column_position);
CREATE INDEX tasks_assigned_agent ON tasks (assigned_agent);

CREATE TABLE dependency_edges (
    id VARCHAR(128) NOT NULL PRIMARY KEY,
    project_id VARCHAR(128) NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    from_task_id VARCHAR(128) NOT NULL REFERENCES tasks (id) ON DELETE CASCADE,
    to_task_id VARCHAR(128) NOT NULL REFERENCES tasks (id) ON DELETE CASCADE,
    type VARCHAR(16) NOT NULL,
    CONSTRAINT dependency_edges_not_itself CHECK (from_task_id <> to_task_id)
);
CREATE UNIQUE INDEX dependency_edges_from_task_id_to_task_id
    ON dependency_edges (from_task_id, to_task_id);
CREATE INDEX dependency_edges_to_task_id ON dependency_edges (to_task_id);
CREATE INDEX dependency_edges_project_id ON dependency_edges (project_id);

CREATE TABLE task_runs (
    id VARCHAR(128) NOT NULL PRIMARY KEY,
    task_id VARCHAR(128) NOT NULL REFERENCES tasks (id) ON DELETE CASCADE,
    run_id VARCHAR(128) NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    pipeline_id VARCHAR(128) NOT NULL,
    status VARCHAR(16) NOT NULL,
    from_status VARCHAR(32) NOT NULL,
    started_at BIGINT NOT NULL,
    completed_at BIGINT
);
CREATE UNIQUE INDEX task_runs_run_id ON task_runs (run_id);
CREATE INDEX task_runs_task_id_started_at ON task_runs (task_id, started_at);
CREATE UNIQUE INDEX task_runs_one_running ON task_runs (task_id) WHERE status = 'running';

CREATE TABLE project_agents (
    project_id VARCHAR(128) NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    agent_id VARCHAR(128) NOT NULL,
    role VARCHAR(16) NOT NULL,
    assigned_by VARCHAR(128),
    assigned_at BIGINT NOT NULL,
    PRIMARY KEY (project_id, agent_id)
);
CREATE INDEX project_agents_agent_id ON project_agents (agent_id);

CREATE TABLE project_workflows (
    id VARCHAR(128) NOT NULL PRIMARY KEY,
    project_id VARCHAR(128) NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    name VARCHAR(256) NOT NULL,
    pipeline_id VARCHAR(128) NOT NULL,
    is_default BOOLEAN NOT NULL,
    task_filter JSONB NOT NULL,
    trigger VARCHAR(32) NOT NULL
);
CREATE INDEX project_workflows_project_id ON project_workflows (project_id);
CREATE UNIQUE INDEX project_workflows_one_default ON project_workflows (project_id)
    WHERE is_default;

CREATE TABLE workflow_policies (
    id VARCHAR(128) NOT NULL PRIMARY KEY,
    project_id VARCHAR(128) NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    stage_rules JSONB NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX workflow_policies_project_id ON workflow_policies (project_id);

CREATE TABLE project_repositories (
    id VARCHAR(128) NOT NULL PRIMARY KEY,
    project_id VARCHAR(128) NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    url TEXT NOT NULL,
    state VARCHAR(16) NOT NULL,
    branch VARCHAR(256),
    commit VARCHAR(64),
    branches JSONB NOT NULL,
    error TEXT,
    updated_at BIGINT NOT NULL,
    cloned_at BIGINT
);
CREATE UNIQUE INDEX project_repositories_project_id ON project_repositories (project_id);
"""


def up(migrator: Any, db: Any) -> None:
    db.execute_sql(TABLES)


def down(migrator: Any, db: Any) -> None:
    db.execute_sql(
        """
        DROP TABLE project_repositories, workflow_policies, project_workflows, project_agents,
            task_runs, dependency_edges, tasks, kanban_columns, project_templates;
        """
    )
