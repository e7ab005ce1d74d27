"""Files that people show to agents."""

from __future__ import annotations

from typing import Any

TABLES = """
CREATE TABLE chat_attachments (
    id VARCHAR(128) NOT NULL PRIMARY KEY,
    owner_id VARCHAR(128) NOT NULL,
    session_id VARCHAR(128),
    agent_id VARCHAR(128),
    purpose VARCHAR(16) NOT NULL,
    filename VARCHAR(255) NOT NULL,
    mime_type VARCHAR(128) NOT NULL,
    size BIGINT NOT NULL,
    digest VARCHAR(64) NOT NULL,
    state VARCHAR(16) NOT NULL
        CHECK (state IN ('uploaded', 'processing', 'ready', 'failed')),
    text TEXT,
    tokens INTEGER,
    pages INTEGER,
    error TEXT,
    tries INTEGER NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE INDEX attachment_owner_id_created_at_id
    ON chat_attachments (owner_id, created_at, id);
CREATE INDEX attachment_session_id_created_at_id
    ON chat_attachments (session_id, created_at, id);
CREATE INDEX chat_attachments_unread
    ON chat_attachments (updated_at) WHERE state IN ('uploaded', 'processing');
CREATE INDEX chat_attachments_unbound
    ON chat_attachments (created_at) WHERE session_id IS NULL;
"""


def up(migrator: Any, db: Any) -> None:
    db.execute_sql(TABLES)


def down(migrator: Any, db: Any) -> None:
    db.execute_sql("DROP TABLE chat_attachments")
