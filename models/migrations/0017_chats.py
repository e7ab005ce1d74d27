"""Chats: sessions, each of them a run, and the messages said in them."""

from __future__ import annotations

from typing import Any

TABLES = """
CREATE TABLE chat_sessions (
    id VARCHAR(128) NOT NULL PRIMARY KEY REFERENCES runs (id) ON DELETE CASCADE,
    user_id VARCHAR(128) NOT NULL,
    agent_id VARCHAR(128) NOT NULL,
    state VARCHAR(16) NOT NULL,
    source VARCHAR(32) NOT NULL,
    title VARCHAR(256),
    model VARCHAR(256) NOT NULL,
    project_id VARCHAR(128),
    system_prompt_supplement TEXT,
    system_prompt_override TEXT,
    tools JSONB NOT NULL,
    key_resolution JSONB,
    error TEXT,
    message_count INTEGER NOT NULL,
    summary TEXT,
    summarised INTEGER NOT NULL,
    context_used INTEGER NOT NULL,
    idle_until BIGINT,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    started_at BIGINT,
    last_activity_at BIGINT NOT NULL,
    completed_at BIGINT,
    CONSTRAINT chat_sessions_over CHECK
        ((completed_at IS NOT NULL) = (state IN ('completed', 'failed'))),
    CONSTRAINT chat_sessions_deadline CHECK
        (idle_until IS NOT NULL OR state IN ('completed', 'failed'))
);
CREATE INDEX chat_sessions_created_at_id ON chat_sessions (created_at, id);
CREATE INDEX chat_sessions_user_id_created_at_id ON chat_sessions (user_id, created_at, id);
CREATE INDEX chat_sessions_agent_id_created_at_id ON chat_sessions (agent_id, created_at, id);
CREATE INDEX chat_sessions_state_created_at_id ON chat_sessions (state, created_at, id);
CREATE INDEX chat_sessions_active ON chat_sessions (idle_until)
    WHERE state IN ('starting', 'running');

CREATE TABLE chat_messages (
    id VARCHAR(128) NOT NULL PRIMARY KEY,
    session_id VARCHAR(128) NOT NULL REFERENCES chat_sessions (id) ON DELETE CASCADE,
    number INTEGER NOT NULL,
    role VARCHAR(16) NOT NULL,
    content TEXT NOT NULL,
    model VARCHAR(256),
    thinking TEXT,
    tool_calls JSONB,
    attachments JSONB NOT NULL,
    state VARCHAR(16) NOT NULL,
    error TEXT,
    execution_id VARCHAR(128),
    began INTEGER,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    completed_at BIGINT
);
CREATE UNIQUE INDEX chat_messages_session_id_number ON chat_messages (session_id, number);
CREATE INDEX chat_messages_execution_id ON chat_messages (execution_id);
CREATE INDEX chat_messages_open ON chat_messages (session_id, number)
    WHERE state IN ('queued', 'running');
"""


def up(migrator: Any, db: Any) -> None:
    db.execute_sql(TABLES)


def down(migrator: Any, db: Any) -> None:
    db.execute_sql("DROP TABLE chat_messages, chat_sessions")
