"""People, their logins and keys, projects and who works on them, the audit log."""

from __future__ import annotations

from typing import Any

TABLES = """
CREATE TABLE users (
    id VARCHAR(128) NOT NULL PRIMARY KEY,
    email VARCHAR(320) NOT NULL,
    display_name VARCHAR(256),
    password_hash VARCHAR(256),
    is_active BOOLEAN NOT NULL,
    is_admin BOOLEAN NOT NULL,
    totp_secret TEXT,
    totp_enabled BOOLEAN NOT NULL,
    totp_confirmed_at BIGINT,
    totp_step INTEGER NOT NULL,
    slack_id VARCHAR(64),
    discord_id VARCHAR(64),
    phone_number VARCHAR(32),
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    CONSTRAINT users_email_lower CHECK (email = lower(email))
);
CREATE UNIQUE INDEX users_email ON users (email);
CREATE UNIQUE INDEX users_slack_id ON users (slack_id);
CREATE UNIQUE INDEX users_discord_id ON users (discord_id);
CREATE UNIQUE INDEX users_phone_number ON users (phone_number);
CREATE INDEX users_created_at_id ON users (created_at, id);

CREATE TABLE user_sessions (
    id VARCHAR(128) NOT NULL PRIMARY KEY,
    user_id VARCHAR(128) NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    ip_address VARCHAR(64),
    user_agent VARCHAR(512),
    expires_at BIGINT NOT NULL,
    ends_at BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    used_at BIGINT NOT NULL
);
CREATE INDEX user_sessions_user_id ON user_sessions (user_id);
CREATE INDEX user_sessions_expires_at ON user_sessions (expires_at);

CREATE TABLE refresh_tokens (
    hash VARCHAR(64) NOT NULL PRIMARY KEY,
    session_id VARCHAR(128) NOT NULL REFERENCES user_sessions (id) ON DELETE CASCADE,
    created_at BIGINT NOT NULL,
    used_at BIGINT
);
CREATE INDEX refresh_tokens_session_id ON refresh_tokens (session_id);

CREATE TABLE user_recovery_codes (
    id VARCHAR(128) NOT NULL PRIMARY KEY,
    user_id VARCHAR(128) NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    code_hash VARCHAR(64) NOT NULL,
    used_at BIGINT
);
CREATE UNIQUE INDEX user_recovery_codes_user_id_code_hash
    ON user_recovery_codes (user_id, code_hash);

CREATE TABLE login_challenges (
    id VARCHAR(128) NOT NULL PRIMARY KEY,
    user_id VARCHAR(128) NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    tries INTEGER NOT NULL,
    used_at BIGINT,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
);
CREATE INDEX login_challenges_expires_at ON login_challenges (expires_at);
CREATE INDEX login_challenges_user_id_created_at ON login_challenges (user_id, created_at);

CREATE TABLE api_keys (
    id VARCHAR(128) NOT NULL PRIMARY KEY,
    user_id VARCHAR(128) REFERENCES users (id) ON DELETE CASCADE,
    agent_id VARCHAR(128),
    name VARCHAR(256) NOT NULL,
    key_hash VARCHAR(64) NOT NULL,
    key_prefix VARCHAR(16) NOT NULL,
    scopes JSONB NOT NULL,
    is_service_key BOOLEAN NOT NULL,
    is_active BOOLEAN NOT NULL,
    expires_at BIGINT,
    last_used_at BIGINT,
    created_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX api_keys_key_hash ON api_keys (key_hash);
CREATE INDEX api_keys_user_id_created_at_id ON api_keys (user_id, created_at, id);
CREATE INDEX api_keys_created_at_id ON api_keys (created_at, id);
CREATE UNIQUE INDEX api_keys_one_per_agent ON api_keys (agent_id) WHERE is_active;

CREATE TABLE projects (
    id VARCHAR(128) NOT NULL PRIMARY KEY,
    name VARCHAR(256) NOT NULL,
    description TEXT NOT NULL,
    state VARCHAR(16) NOT NULL,
    repository TEXT,
    default_pipeline_id VARCHAR(128),
    slack_channel_id VARCHAR(64),
    slack_notify_user_id VARCHAR(64),
    template_id VARCHAR(128),
    status_semantics JSONB,
    onboarding_context TEXT,
    vision TEXT,
    workspace_type VARCHAR(32),
    owner_id VARCHAR(128) NOT NULL,
    key_user_id VARCHAR(128),
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    completed_at BIGINT
);
CREATE INDEX projects_updated_at_id ON projects (updated_at, id);
CREATE INDEX projects_state_updated_at_id ON projects (state, updated_at, id);
CREATE INDEX projects_owner_id_updated_at_id ON projects (owner_id, updated_at, id);

CREATE TABLE project_members (
    project_id VARCHAR(128) NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    user_id VARCHAR(128) NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    role VARCHAR(16) NOT NULL,
    added_by VARCHAR(128),
    added_at BIGINT NOT NULL,
    PRIMARY KEY (project_id, user_id)
);
CREATE INDEX project_members_user_id ON project_members (user_id);

CREATE TABLE audit_log (
    seq BIGINT NOT NULL PRIMARY KEY,
    at BIGINT NOT NULL,
    actor VARCHAR(128) NOT NULL,
    action VARCHAR(64) NOT NULL,
    subject VARCHAR(128) NOT NULL,
    details JSONB NOT NULL,
    digest VARCHAR(64) NOT NULL
);
CREATE INDEX audit_log_actor_seq ON audit_log (actor, seq);
CREATE INDEX audit_log_subject_seq ON audit_log (subject, seq);
CREATE FUNCTION audit_log_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the audit log is append-only';
END $$;
CREATE TRIGGER audit_log_append_only BEFORE UPDATE OR DELETE ON audit_log
    FOR EACH ROW EXECUTE FUNCTION audit_log_is_append_only();
CREATE TRIGGER audit_log_is_not_emptied BEFORE TRUNCATE ON audit_log
    FOR EACH STATEMENT EXECUTE FUNCTION audit_log_is_append_only();
"""


def up(migrator: Any, db: Any) -> None:
    db.execute_sql(TABLES)


def down(migrator: Any, db: Any) -> None:
    db.execute_sql(
        """
        DROP TABLE audit_log, project_members, projects, api_keys, login_challenges,
            user_recovery_codes, refresh_tokens, user_sessions, users;
        DROP FUNCTION audit_log_is_append_only;
        """
    )
