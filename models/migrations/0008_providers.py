"""Providers and their keys, shares of them, settings; budgets count calls as well."""

from __future__ import annotations

from typing import Any

TABLES = """
CREATE TABLE model_providers (
    id VARCHAR(64) NOT NULL PRIMARY KEY,
    name VARCHAR(128),
    enabled BOOLEAN NOT NULL,
    source VARCHAR(8) NOT NULL,
    api_key TEXT,
    extra_config TEXT,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);

CREATE TABLE user_model_providers (
    id VARCHAR(128) NOT NULL PRIMARY KEY,
    user_id VARCHAR(128) NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    provider_id VARCHAR(64) NOT NULL,
    enabled BOOLEAN NOT NULL,
    api_key TEXT,
    extra_config TEXT,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX user_model_providers_user_id_provider_id
    ON user_model_providers (user_id, provider_id);

CREATE TABLE admin_shared_providers (
    id VARCHAR(128) NOT NULL PRIMARY KEY,
    admin_user_id VARCHAR(128) REFERENCES users (id) ON DELETE SET NULL,
    provider_id VARCHAR(64) NOT NULL,
    target_user_id VARCHAR(128) REFERENCES users (id) ON DELETE CASCADE,
    allowed_models JSONB,
    daily_limit INTEGER CHECK (daily_limit >= 0),
    daily_cost_limit_usd NUMERIC(16, 8) CHECK (daily_cost_limit_usd >= 0),
    expires_at BIGINT,
    created_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX admin_shared_providers_provider_id_target_user_id
    ON admin_shared_providers (provider_id, target_user_id) NULLS NOT DISTINCT;
CREATE INDEX admin_shared_providers_target_user_id ON admin_shared_providers (target_user_id);
CREATE INDEX admin_shared_providers_created_at_id ON admin_shared_providers (created_at, id);

CREATE TABLE global_settings (
    key VARCHAR(128) NOT NULL PRIMARY KEY,
    value JSONB NOT NULL,
    updated_at BIGINT NOT NULL
);

CREATE TABLE model_favorites (
    id VARCHAR(128) NOT NULL PRIMARY KEY,
    models JSONB NOT NULL,
    updated_at BIGINT NOT NULL
);

ALTER TABLE budgets
    ADD COLUMN limit_calls BIGINT,
    ADD COLUMN spent_calls BIGINT NOT NULL DEFAULT 0,
    ADD COLUMN reserved_calls BIGINT NOT NULL DEFAULT 0;
ALTER TABLE budgets
    ALTER COLUMN spent_calls DROP DEFAULT,
    ALTER COLUMN reserved_calls DROP DEFAULT;
UPDATE budgets SET reserved_calls = (
    SELECT count(*) FROM reservations WHERE reservations.key = budgets.key);
ALTER TABLE budgets ADD CONSTRAINT budgets_no_calls_below_zero CHECK (
    spent_calls >= 0 AND reserved_calls >= 0 AND (limit_calls IS NULL OR limit_calls >= 0));
CREATE INDEX budgets_of_shares ON budgets (key text_pattern_ops) WHERE key LIKE 'share:%';
"""


def up(migrator: Any, db: Any) -> None:
    db.execute_sql(TABLES)


def down(migrator: Any, db: Any) -> None:
    db.execute_sql(
        """
        DROP INDEX budgets_of_shares;
        ALTER TABLE budgets DROP COLUMN limit_calls, DROP COLUMN spent_calls,
            DROP COLUMN reserved_calls;
        DROP TABLE model_favorites, global_settings, admin_shared_providers, user_model_providers,
            model_providers;
        """
    )
