"""Runs, their steps, sessions, events and calls; the library; the outbox; who is alive."""

from __future__ import annotations

from typing import Any

TABLES = """
CREATE TABLE outbox (
    id BIGSERIAL NOT NULL PRIMARY KEY,
    queue VARCHAR(64) NOT NULL,
    body JSONB NOT NULL,
    due_at BIGINT NOT NULL,
    unique_key VARCHAR(256)
);
CREATE UNIQUE INDEX outbox_unique_key ON outbox (unique_key);
CREATE INDEX outbox_due_at_id ON outbox (due_at, id);

CREATE TABLE agents (
    id VARCHAR(128) NOT NULL PRIMARY KEY,
    name VARCHAR(256) NOT NULL,
    emoji VARCHAR(32),
    role VARCHAR(256),
    description TEXT,
    files JSONB NOT NULL,
    config JSONB NOT NULL,
    concurrent_steps INTEGER NOT NULL,
    shipped BOOLEAN NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);

CREATE TABLE pipelines (
    id VARCHAR(128) NOT NULL PRIMARY KEY,
    name VARCHAR(256) NOT NULL,
    description TEXT,
    version VARCHAR(64) NOT NULL,
    yaml TEXT NOT NULL,
    raw JSONB NOT NULL,
    version_id VARCHAR(64),
    errors JSONB NOT NULL,
    warnings JSONB NOT NULL,
    shipped BOOLEAN NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);

CREATE TABLE pipeline_versions (
    id VARCHAR(64) NOT NULL PRIMARY KEY,
    definition JSONB NOT NULL,
    created_at BIGINT NOT NULL
);

CREATE TABLE runs (
    id VARCHAR(128) NOT NULL PRIMARY KEY,
    state VARCHAR(16) NOT NULL,
    attempt INTEGER NOT NULL,
    event_seq INTEGER NOT NULL,
    priority INTEGER NOT NULL,
    kind VARCHAR(16) NOT NULL,
    pipeline_id VARCHAR(128) NOT NULL,
    version_id VARCHAR(64) NOT NULL,
    task TEXT NOT NULL,
    human_context TEXT,
    project_name VARCHAR(256),
    project_id VARCHAR(128),
    owner_id VARCHAR(128),
    model_override VARCHAR(256),
    current_step VARCHAR(128),
    outputs JSONB NOT NULL,
    meta JSONB NOT NULL,
    error TEXT,
    key_resolution JSONB,
    task_id VARCHAR(128),
    task_branch VARCHAR(256),
    workspace_type VARCHAR(32),
    workspace_commit VARCHAR(64),
    workspace_snapshot VARCHAR(64),
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    started_at BIGINT,
    completed_at BIGINT,
    FOREIGN KEY (version_id) REFERENCES pipeline_versions (id) ON DELETE RESTRICT
);
CREATE INDEX runs_created_at_id ON runs (created_at, id);
CREATE INDEX runs_owner_id_created_at_id ON runs (owner_id, created_at, id);
CREATE INDEX runs_project_id_created_at_id ON runs (project_id, created_at, id);
CREATE INDEX runs_pipeline_id_created_at_id ON runs (pipeline_id, created_at, id);
CREATE INDEX runs_state_created_at_id ON runs (state, created_at, id);

CREATE TABLE steps (
    id VARCHAR(128) NOT NULL PRIMARY KEY,
    run_id VARCHAR(128) NOT NULL,
    attempt INTEGER NOT NULL,
    number INTEGER NOT NULL,
    step_id VARCHAR(128) NOT NULL,
    agent_id VARCHAR(128) NOT NULL,
    position INTEGER NOT NULL,
    state VARCHAR(16) NOT NULL,
    superseded BOOLEAN NOT NULL,
    visit INTEGER NOT NULL,
    retry INTEGER NOT NULL,
    max_retries INTEGER NOT NULL,
    execution INTEGER NOT NULL,
    priority INTEGER NOT NULL,
    due_at BIGINT NOT NULL,
    inputs JSONB NOT NULL,
    loop JSONB,
    feedback JSONB NOT NULL,
    human_context TEXT,
    outputs JSONB NOT NULL,
    text TEXT,
    error TEXT,
    transient BOOLEAN NOT NULL,
    wait_ms INTEGER NOT NULL,
    final BOOLEAN NOT NULL,
    model_used VARCHAR(256),
    session_id VARCHAR(128),
    "commit" VARCHAR(64),
    lease_id VARCHAR(32),
    leased_until BIGINT,
    tries INTEGER NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    started_at BIGINT,
    completed_at BIGINT,
    FOREIGN KEY (run_id) REFERENCES runs (id) ON DELETE CASCADE
);
CREATE UNIQUE INDEX steps_run_id_attempt_number ON steps (run_id, attempt, number);
CREATE INDEX steps_agent_id_state_priority_created_at
    ON steps (agent_id, state, priority, created_at);

CREATE TABLE sessions (
    id VARCHAR(128) NOT NULL PRIMARY KEY,
    state VARCHAR(16) NOT NULL,
    agent_id VARCHAR(128) NOT NULL,
    source VARCHAR(32) NOT NULL,
    source_id VARCHAR(128),
    run_id VARCHAR(128),
    execution_id VARCHAR(128),
    owner_id VARCHAR(128),
    user_prompt TEXT,
    output TEXT,
    error TEXT,
    model VARCHAR(256),
    turn_count INTEGER NOT NULL,
    key_resolution JSONB,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    started_at BIGINT,
    completed_at BIGINT
);
CREATE INDEX sessions_agent_id_created_at_id ON sessions (agent_id, created_at, id);
CREATE INDEX sessions_state_created_at_id ON sessions (state, created_at, id);
CREATE INDEX sessions_owner_id_created_at_id ON sessions (owner_id, created_at, id);
CREATE INDEX sessions_execution_id ON sessions (execution_id);
CREATE INDEX sessions_run_id ON sessions (run_id);

CREATE TABLE events (
    run_id VARCHAR(128) NOT NULL,
    seq INTEGER NOT NULL,
    type VARCHAR(48) NOT NULL,
    session_id VARCHAR(128),
    data JSONB NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (run_id, seq)
);
CREATE INDEX events_session_id_seq ON events (session_id, seq);

CREATE TABLE llm_calls (
    id VARCHAR(128) NOT NULL PRIMARY KEY,
    session_id VARCHAR(128),
    turn INTEGER NOT NULL,
    run_id VARCHAR(128),
    step_id VARCHAR(128),
    agent_id VARCHAR(128) NOT NULL,
    owner_id VARCHAR(128),
    request_id VARCHAR(256),
    provider VARCHAR(64) NOT NULL,
    model VARCHAR(256) NOT NULL,
    key_source VARCHAR(16),
    key_masked VARCHAR(64),
    input_tokens INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL,
    cache_read_tokens INTEGER NOT NULL,
    cache_write_tokens INTEGER NOT NULL,
    total_tokens INTEGER NOT NULL,
    cost_input NUMERIC(16, 8),
    cost_output NUMERIC(16, 8),
    cost_total NUMERIC(16, 8),
    cost_approximate BOOLEAN NOT NULL,
    duration_ms INTEGER,
    tool_call_count INTEGER NOT NULL,
    has_thinking BOOLEAN NOT NULL,
    stop_reason VARCHAR(32),
    context_used_tokens INTEGER,
    context_window_tokens INTEGER,
    created_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX llm_calls_session_id_turn ON llm_calls (session_id, turn);
CREATE INDEX llm_calls_run_id_created_at_id ON llm_calls (run_id, created_at, id);
CREATE INDEX llm_calls_agent_id_created_at_id ON llm_calls (agent_id, created_at, id);
CREATE INDEX llm_calls_owner_id_created_at_id ON llm_calls (owner_id, created_at, id);
CREATE INDEX llm_calls_provider_model_created_at ON llm_calls (provider, model, created_at);
CREATE INDEX llm_calls_created_at_id ON llm_calls (created_at, id);

CREATE TABLE activities (
    id BIGSERIAL NOT NULL PRIMARY KEY,
    agent_id VARCHAR(128) NOT NULL,
    owner_id VARCHAR(128),
    run_id VARCHAR(128),
    type VARCHAR(32) NOT NULL,
    data JSONB NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE INDEX activities_agent_id_id ON activities (agent_id, id);
CREATE INDEX activities_run_id ON activities (run_id);
CREATE INDEX activities_created_at ON activities (created_at);

CREATE TABLE idempotency_keys (
    owner_id VARCHAR(128) NOT NULL,
    key VARCHAR(255) NOT NULL,
    digest VARCHAR(64) NOT NULL,
    run_id VARCHAR(128) NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (owner_id, key)
);
CREATE INDEX idempotency_keys_created_at ON idempotency_keys (created_at);

CREATE TABLE processes (
    id VARCHAR(128) NOT NULL PRIMARY KEY,
    kind VARCHAR(16) NOT NULL,
    host VARCHAR(256) NOT NULL,
    pid INTEGER NOT NULL,
    queues JSONB NOT NULL,
    started_at BIGINT NOT NULL,
    seen_at BIGINT NOT NULL
);
CREATE INDEX processes_seen_at ON processes (seen_at);

"""

# what models cannot say: the database refuses what the code must not do
INVARIANTS = """
CREATE UNIQUE INDEX steps_one_active ON steps (run_id) WHERE state IN ('queued', 'running');
CREATE INDEX steps_leased ON steps (leased_until) WHERE state = 'running';
CREATE INDEX steps_queued ON steps (due_at) WHERE state = 'queued';
CREATE INDEX runs_active ON runs (updated_at) WHERE state IN ('pending', 'running', 'paused');
ALTER TABLE runs ADD CONSTRAINT runs_end_has_a_time CHECK (
    (state IN ('completed', 'failed', 'cancelled')) = (completed_at IS NOT NULL));
ALTER TABLE steps ADD CONSTRAINT steps_running_has_a_lease CHECK (
    state <> 'running' OR (lease_id IS NOT NULL AND leased_until IS NOT NULL));
ALTER TABLE steps ADD CONSTRAINT steps_end_has_a_time CHECK (
    (state IN ('completed', 'failed', 'cancelled')) = (completed_at IS NOT NULL));
"""


def up(migrator: Any, db: Any) -> None:
    db.execute_sql(TABLES)
    db.execute_sql(INVARIANTS)


def down(migrator: Any, db: Any) -> None:
    names = "processes idempotency_keys activities llm_calls events sessions steps runs"
    names += " pipeline_versions pipelines agents outbox"
    db.execute_sql("DROP TABLE " + ", ".join(names.split()))
