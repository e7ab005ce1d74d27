"""Conversations that become projects."""

from __future__ import annotations

from typing import Any

TABLES = """
CREATE TABLE onboarding_sessions (
    id VARCHAR(128) NOT NULL PRIMARY KEY,
    owner_id VARCHAR(128) NOT NULL,
    state VARCHAR(16) NOT NULL CHECK (state IN ('active', 'completed', 'abandoned')),
    template_id VARCHAR(128),
    chain JSONB NOT NULL,
    current_agent_id VARCHAR(128) NOT NULL,
    phase VARCHAR(32) NOT NULL,
    context JSONB NOT NULL,
    landing_page JSONB,
    chat_session_id VARCHAR(128),
    model VARCHAR(256) NOT NULL,
    project_id VARCHAR(128),
    planning_run_id VARCHAR(128),
    planning_error TEXT,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    completed_at BIGINT,
    CHECK ((state = 'completed') = (completed_at IS NOT NULL)),
    CHECK ((state = 'completed') = (project_id IS NOT NULL))
);
CREATE INDEX onboardingsession_owner_id_updated_at_id
    ON onboarding_sessions (owner_id, updated_at, id);
CREATE INDEX onboardingsession_chat_session_id ON onboarding_sessions (chat_session_id);
CREATE INDEX onboarding_sessions_open
    ON onboarding_sessions (updated_at) WHERE state = 'active';
CREATE INDEX onboarding_sessions_unplanned
    ON onboarding_sessions (updated_at)
    WHERE state = 'completed' AND planning_run_id IS NULL AND planning_error IS NULL;
CREATE TABLE onboarding_messages (
    id VARCHAR(128) NOT NULL PRIMARY KEY,
    session_id VARCHAR(128) NOT NULL REFERENCES onboarding_sessions (id) ON DELETE CASCADE,
    content TEXT NOT NULL,
    agent_id VARCHAR(128) NOT NULL,
    handoff_to_agent VARCHAR(128),
    chat_session_id VARCHAR(128),
    created_at BIGINT NOT NULL
);
CREATE INDEX onboardingmessage_session_id_created_at_id
    ON onboarding_messages (session_id, created_at, id);
"""


def up(migrator: Any, db: Any) -> None:
    db.execute_sql(TABLES)


def down(migrator: Any, db: Any) -> None:
    db.execute_sql("DROP TABLE onboarding_messages; DROP TABLE onboarding_sessions")
