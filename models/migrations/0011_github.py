"""GitHub: projects' repositories, who answers to what there, and what GitHub has told us."""

from __future__ import annotations

from typing import Any

TABLES = """
CREATE TABLE project_github (
    id VARCHAR(128) NOT NULL PRIMARY KEY,
    project_id VARCHAR(128) NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    installation_id BIGINT NOT NULL,
    repo_owner VARCHAR(128) NOT NULL,
    repo_name VARCHAR(256) NOT NULL,
    repo_full_name VARCHAR(384) NOT NULL,
    repo_key VARCHAR(384) NOT NULL,
    default_branch VARCHAR(256) NOT NULL,
    is_active BOOLEAN NOT NULL,
    connected_by VARCHAR(128),
    connected_at BIGINT NOT NULL,
    last_push_at BIGINT,
    CONSTRAINT project_github_repo_key_lower CHECK (repo_key = lower(repo_full_name))
);
CREATE UNIQUE INDEX project_github_project_id ON project_github (project_id);
CREATE INDEX project_github_installation_id ON project_github (installation_id);
CREATE INDEX project_github_repo_key ON project_github (repo_key);

CREATE TABLE github_installation_states (
    state_hash VARCHAR(64) NOT NULL PRIMARY KEY,
    project_id VARCHAR(128) NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    user_id VARCHAR(128) NOT NULL,
    expires_at BIGINT NOT NULL
);
CREATE INDEX github_installation_states_project_id ON github_installation_states (project_id);
CREATE INDEX github_installation_states_expires_at ON github_installation_states (expires_at);

CREATE TABLE project_github_agents (
    id VARCHAR(128) NOT NULL PRIMARY KEY,
    project_id VARCHAR(128) NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    agent_id VARCHAR(128) NOT NULL,
    event_type VARCHAR(64) NOT NULL,
    event_action VARCHAR(64),
    filter_labels JSONB,
    filter_file_patterns JSONB,
    filter_authors JSONB,
    auto_respond BOOLEAN NOT NULL,
    created_by VARCHAR(128),
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE INDEX project_github_agents_agent_id ON project_github_agents (agent_id);
CREATE INDEX project_github_agents_project_id_created_at_id
    ON project_github_agents (project_id, created_at, id);

CREATE TABLE github_agent_triggers (
    id VARCHAR(128) NOT NULL PRIMARY KEY,
    project_id VARCHAR(128) NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    agent_id VARCHAR(128) NOT NULL,
    assignment_id VARCHAR(128),
    event_id VARCHAR(128) NOT NULL,
    event_type VARCHAR(64) NOT NULL,
    event_action VARCHAR(64),
    subject TEXT NOT NULL,
    run_id VARCHAR(128),
    error TEXT,
    triggered_at BIGINT NOT NULL
);
CREATE INDEX github_agent_triggers_project_id_triggered_at_id
    ON github_agent_triggers (project_id, triggered_at, id);
CREATE UNIQUE INDEX github_agent_triggers_event_id_project_id_agent_id
    ON github_agent_triggers (event_id, project_id, agent_id);

CREATE TABLE webhook_events (
    id VARCHAR(128) NOT NULL PRIMARY KEY,
    delivery_id VARCHAR(128) NOT NULL,
    event_type VARCHAR(64) NOT NULL,
    action VARCHAR(64),
    installation_id BIGINT,
    repository_full_name VARCHAR(384),
    repository_key VARCHAR(384),
    repository_id BIGINT,
    sender_login VARCHAR(128),
    payload JSONB NOT NULL,
    verified BOOLEAN NOT NULL,
    processed BOOLEAN NOT NULL,
    processing_error TEXT,
    received_at BIGINT NOT NULL,
    processed_at BIGINT
);
CREATE UNIQUE INDEX webhook_events_delivery_id ON webhook_events (delivery_id);
CREATE INDEX webhook_events_received_at_id ON webhook_events (received_at, id);
CREATE INDEX webhook_events_event_type_received_at_id
    ON webhook_events (event_type, received_at, id);
CREATE INDEX webhook_events_repository_key_received_at_id
    ON webhook_events (repository_key, received_at, id);
CREATE INDEX webhook_events_installation_id_received_at
    ON webhook_events (installation_id, received_at);
CREATE INDEX webhook_events_waiting ON webhook_events (received_at) WHERE NOT processed;

CREATE TABLE webhook_secrets (
    installation_id BIGINT NOT NULL PRIMARY KEY,
    secret TEXT NOT NULL,
    created_at BIGINT NOT NULL
);

CREATE TABLE webhook_misses (
    guid VARCHAR(128) NOT NULL PRIMARY KEY,
    delivery BIGINT NOT NULL,
    tries INTEGER NOT NULL,
    due_at BIGINT NOT NULL,
    failed_at BIGINT NOT NULL
);
CREATE INDEX webhook_misses_due_at ON webhook_misses (due_at);

CREATE TABLE webhook_sweeps (
    id INTEGER NOT NULL PRIMARY KEY,
    seen_until BIGINT NOT NULL
);
"""


def up(migrator: Any, db: Any) -> None:
    db.execute_sql(TABLES)


def down(migrator: Any, db: Any) -> None:
    db.execute_sql(
        """
        DROP TABLE webhook_sweeps, webhook_misses, webhook_secrets, webhook_events,
            github_agent_triggers, project_github_agents, github_installation_states,
            project_github;
        """
    )
