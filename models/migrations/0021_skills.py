"""Skills with all their versions, companion files, who was given them, and imports under way."""

from __future__ import annotations

from typing import Any

TABLES = """
CREATE TABLE skills (
    id VARCHAR(64) NOT NULL PRIMARY KEY,
    state VARCHAR(16) NOT NULL,
    version INTEGER NOT NULL,
    approved INTEGER,
    enabled BOOLEAN NOT NULL,
    scope VARCHAR(16) NOT NULL,
    owner_agent_id VARCHAR(128),
    shipped BOOLEAN NOT NULL,
    act VARCHAR(160),
    created_by VARCHAR(128) NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    CONSTRAINT skills_approved_is_a_version CHECK (approved BETWEEN 1 AND version),
    CONSTRAINT skills_approved_by_state CHECK (state <> 'approved' OR approved = version),
    CONSTRAINT skills_agents_have_an_owner CHECK ((scope = 'agent') = (owner_agent_id IS NOT NULL))
);
CREATE UNIQUE INDEX skills_act ON skills (act);
CREATE INDEX skills_created_by ON skills (created_by);
CREATE INDEX skills_state_updated_at_id ON skills (state, updated_at, id);

CREATE TABLE skill_versions (
    skill_id VARCHAR(64) NOT NULL REFERENCES skills (id) ON DELETE CASCADE,
    number INTEGER NOT NULL,
    description TEXT NOT NULL,
    tags JSONB NOT NULL,
    content TEXT NOT NULL,
    files JSONB NOT NULL,
    author VARCHAR(128) NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (skill_id, number)
);

CREATE TABLE skill_files (
    skill_id VARCHAR(64) NOT NULL REFERENCES skills (id) ON DELETE CASCADE,
    digest VARCHAR(64) NOT NULL,
    content TEXT NOT NULL,
    PRIMARY KEY (skill_id, digest)
);

CREATE TABLE agent_skills (
    agent_id VARCHAR(128) NOT NULL REFERENCES agents (id) ON DELETE CASCADE,
    skill_id VARCHAR(64) NOT NULL REFERENCES skills (id) ON DELETE CASCADE,
    granted_by VARCHAR(128) NOT NULL,
    granted_at BIGINT NOT NULL,
    PRIMARY KEY (agent_id, skill_id)
);
CREATE INDEX agent_skills_skill_id ON agent_skills (skill_id);

CREATE TABLE skill_imports (
    id VARCHAR(128) NOT NULL PRIMARY KEY,
    owner_id VARCHAR(128) NOT NULL,
    name VARCHAR(64) NOT NULL,
    files JSONB NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE INDEX skill_imports_owner_id_name_created_at ON skill_imports (owner_id, name, created_at);
CREATE INDEX skill_imports_created_at ON skill_imports (created_at);
"""


def up(migrator: Any, db: Any) -> None:
    db.execute_sql(TABLES)


def down(migrator: Any, db: Any) -> None:
    db.execute_sql("DROP TABLE skill_imports, agent_skills, skill_files, skill_versions, skills")
