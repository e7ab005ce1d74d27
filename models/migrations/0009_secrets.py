"""Secrets, browser cookies, and who was given them."""

from __future__ import annotations

from typing import Any

TABLES = """
CREATE TABLE secrets (
    id VARCHAR(128) NOT NULL PRIMARY KEY,
    owner_id VARCHAR(128) REFERENCES users (id) ON DELETE CASCADE,
    scope VARCHAR(16) NOT NULL,
    name VARCHAR(256) NOT NULL,
    description TEXT,
    secret_type VARCHAR(32) NOT NULL,
    env_key VARCHAR(256) NOT NULL,
    value TEXT NOT NULL,
    masked_preview VARCHAR(64) NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    CONSTRAINT secrets_owned CHECK ((scope = 'instance') = (owner_id IS NULL))
);
CREATE INDEX secrets_owner_id_created_at_id ON secrets (owner_id, created_at, id);
CREATE INDEX secrets_created_at_id ON secrets (created_at, id);

CREATE TABLE agent_secret_grants (
    id VARCHAR(128) NOT NULL PRIMARY KEY,
    secret_id VARCHAR(128) NOT NULL REFERENCES secrets (id) ON DELETE CASCADE,
    agent_id VARCHAR(128) NOT NULL,
    granted_by VARCHAR(128),
    granted_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX agent_secret_grants_secret_id_agent_id
    ON agent_secret_grants (secret_id, agent_id);
CREATE INDEX agent_secret_grants_agent_id_granted_at_id
    ON agent_secret_grants (agent_id, granted_at, id);

CREATE TABLE user_secret_grants (
    id VARCHAR(128) NOT NULL PRIMARY KEY,
    secret_id VARCHAR(128) NOT NULL REFERENCES secrets (id) ON DELETE CASCADE,
    user_id VARCHAR(128) NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    granted_by VARCHAR(128),
    granted_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX user_secret_grants_secret_id_user_id
    ON user_secret_grants (secret_id, user_id);
CREATE INDEX user_secret_grants_user_id ON user_secret_grants (user_id);

CREATE TABLE browser_cookie_sets (
    id VARCHAR(128) NOT NULL PRIMARY KEY,
    owner_id VARCHAR(128) NOT NULL,
    user_id VARCHAR(128) REFERENCES users (id) ON DELETE CASCADE,
    name VARCHAR(256) NOT NULL,
    domain VARCHAR(255) NOT NULL,
    content TEXT NOT NULL,
    cookie_count INTEGER NOT NULL,
    expires_at BIGINT,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE INDEX browser_cookie_sets_owner_id_created_at_id
    ON browser_cookie_sets (owner_id, created_at, id);
CREATE INDEX browser_cookie_sets_created_at_id ON browser_cookie_sets (created_at, id);
CREATE INDEX browser_cookie_sets_user_id ON browser_cookie_sets (user_id);

CREATE TABLE agent_cookie_grants (
    id BIGSERIAL NOT NULL PRIMARY KEY,
    agent_id VARCHAR(128) NOT NULL,
    cookie_set_id VARCHAR(128) NOT NULL REFERENCES browser_cookie_sets (id) ON DELETE CASCADE,
    granted_by VARCHAR(128) NOT NULL,
    granted_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX agent_cookie_grants_agent_id_cookie_set_id
    ON agent_cookie_grants (agent_id, cookie_set_id);
CREATE INDEX agent_cookie_grants_cookie_set_id ON agent_cookie_grants (cookie_set_id);
"""


def up(migrator: Any, db: Any) -> None:
    db.execute_sql(TABLES)


def down(migrator: Any, db: Any) -> None:
    db.execute_sql(
        """
        DROP TABLE agent_cookie_grants, browser_cookie_sets, user_secret_grants,
            agent_secret_grants, secrets;
        """
    )
