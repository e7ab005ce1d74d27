"""What admins are told, the waitlist, mail, known releases, and finding things in the audit log."""

from __future__ import annotations

from typing import Any

TABLES = """
CREATE TABLE admin_notifications (
    id VARCHAR(128) NOT NULL PRIMARY KEY,
    level VARCHAR(16) NOT NULL,
    title VARCHAR(256) NOT NULL,
    detail TEXT,
    read BOOLEAN NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE INDEX admin_notifications_created_at_id ON admin_notifications (created_at, id);
CREATE INDEX admin_notifications_read_created_at_id ON admin_notifications (read, created_at, id);

CREATE TABLE waitlist_entries (
    id VARCHAR(128) NOT NULL PRIMARY KEY,
    email VARCHAR(320) NOT NULL,
    state VARCHAR(16) NOT NULL,
    token_hash VARCHAR(64),
    token_ends_at BIGINT,
    invited_at BIGINT,
    registered_at BIGINT,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    CONSTRAINT waitlist_entries_email_lower CHECK (email = lower(email))
);
CREATE UNIQUE INDEX waitlist_entries_email ON waitlist_entries (email);
CREATE UNIQUE INDEX waitlist_entries_token_hash ON waitlist_entries (token_hash);
CREATE INDEX waitlist_entries_created_at_id ON waitlist_entries (created_at, id);

CREATE TABLE email_settings (
    id VARCHAR(16) NOT NULL PRIMARY KEY,
    smtp_host VARCHAR(256) NOT NULL,
    smtp_port INTEGER NOT NULL,
    smtp_username VARCHAR(320) NOT NULL,
    smtp_password TEXT,
    smtp_use_tls BOOLEAN NOT NULL,
    from_email VARCHAR(320) NOT NULL,
    from_name VARCHAR(256) NOT NULL,
    updated_at BIGINT NOT NULL
);

CREATE TABLE letters (
    id VARCHAR(128) NOT NULL PRIMARY KEY,
    state VARCHAR(16) NOT NULL,
    recipient VARCHAR(320) NOT NULL,
    subject VARCHAR(256) NOT NULL,
    body TEXT,
    entry_id VARCHAR(128) REFERENCES waitlist_entries (id) ON DELETE CASCADE,
    tries INTEGER NOT NULL,
    due_at BIGINT NOT NULL,
    error TEXT,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE INDEX letters_entry_id ON letters (entry_id);
CREATE INDEX letters_state_due_at ON letters (state, due_at);
CREATE INDEX letters_updated_at ON letters (updated_at);

CREATE TABLE releases (
    id VARCHAR(16) NOT NULL PRIMARY KEY,
    version VARCHAR(64),
    url TEXT,
    name VARCHAR(256),
    body TEXT,
    published_at VARCHAR(64),
    checked_at BIGINT NOT NULL
);

CREATE INDEX audit_log_action_seq ON audit_log (action, seq);
CREATE INDEX audit_log_at ON audit_log (at);
CREATE INDEX sessions_chats ON sessions (created_at, id) WHERE run_id IS NULL;
"""


def up(migrator: Any, db: Any) -> None:
    db.execute_sql(TABLES)


def down(migrator: Any, db: Any) -> None:
    db.execute_sql(
        """
        DROP INDEX audit_log_action_seq, audit_log_at, sessions_chats;
        DROP TABLE releases, letters, email_settings, waitlist_entries, admin_notifications;
        """
    )
