"""Identity providers, the identities of users at them, and logins under way."""

from __future__ import annotations

from typing import Any

TABLES = """
CREATE TABLE oidc_providers (
    id VARCHAR(128) NOT NULL PRIMARY KEY,
    slug VARCHAR(64) NOT NULL,
    name VARCHAR(256) NOT NULL,
    issuer_url VARCHAR(512) NOT NULL,
    client_id VARCHAR(512) NOT NULL,
    client_secret TEXT NOT NULL,
    masked_client_secret VARCHAR(32),
    scopes VARCHAR(512) NOT NULL,
    button_text VARCHAR(128),
    button_color VARCHAR(32),
    icon_url VARCHAR(2048),
    auto_discovery BOOLEAN NOT NULL,
    enabled BOOLEAN NOT NULL,
    authorization_endpoint VARCHAR(2048),
    token_endpoint VARCHAR(2048),
    userinfo_endpoint VARCHAR(2048),
    jwks_uri VARCHAR(2048),
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX oidc_providers_slug ON oidc_providers (slug);

CREATE TABLE user_identities (
    provider_id VARCHAR(128) NOT NULL REFERENCES oidc_providers (id) ON DELETE CASCADE,
    issuer VARCHAR(512) NOT NULL,
    subject VARCHAR(255) NOT NULL,
    user_id VARCHAR(128) NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    email_verified BOOLEAN NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (provider_id, issuer, subject)
);
CREATE INDEX user_identities_user_id ON user_identities (user_id);

CREATE TABLE oidc_logins (
    state_hash VARCHAR(64) NOT NULL PRIMARY KEY,
    provider_id VARCHAR(128) NOT NULL REFERENCES oidc_providers (id) ON DELETE CASCADE,
    verifier TEXT NOT NULL,
    redirect_uri VARCHAR(2048) NOT NULL,
    browser_hash VARCHAR(64),
    next_path VARCHAR(2048),
    expires_at BIGINT NOT NULL
);
CREATE INDEX oidc_logins_provider_id ON oidc_logins (provider_id);
CREATE INDEX oidc_logins_expires_at ON oidc_logins (expires_at);
"""


def up(migrator: Any, db: Any) -> None:
    db.execute_sql(TABLES)


def down(migrator: Any, db: Any) -> None:
    db.execute_sql("DROP TABLE oidc_logins, user_identities, oidc_providers")
