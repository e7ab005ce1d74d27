"""What agents leave for each other, and how often one wakes another."""

from __future__ import annotations

from typing import Any

TABLES = """
CREATE TABLE inbox_messages (
    id VARCHAR(128) NOT NULL PRIMARY KEY,
    to_agent VARCHAR(128) NOT NULL,
    from_agent VARCHAR(128) NOT NULL,
    message TEXT NOT NULL,
    owner_id VARCHAR(128),
    project_id VARCHAR(128),
    run_id VARCHAR(128),
    carried_by VARCHAR(128),
    taken_by VARCHAR(128),
    read_at BIGINT,
    created_at BIGINT NOT NULL,
    CHECK (read_at IS NULL OR taken_by IS NOT NULL)
);
CREATE INDEX inbox_messages_to_agent_created_at_id ON inbox_messages (to_agent, created_at, id);
CREATE INDEX inbox_messages_created_at ON inbox_messages (created_at);
CREATE INDEX inbox_messages_unread ON inbox_messages (to_agent, owner_id) WHERE read_at IS NULL;

CREATE TABLE wakes (
    id VARCHAR(128) NOT NULL PRIMARY KEY,
    target VARCHAR(128) NOT NULL,
    source VARCHAR(128) NOT NULL,
    owner_id VARCHAR(128),
    reason VARCHAR(32) NOT NULL,
    act VARCHAR(128) NOT NULL,
    execution_id VARCHAR(128),
    run_id VARCHAR(128),
    suppressed VARCHAR(256),
    created_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX wakes_act ON wakes (act);
CREATE INDEX wakes_target_owner_id_created_at ON wakes (target, owner_id, created_at);
CREATE INDEX wakes_execution_id ON wakes (execution_id);
CREATE INDEX wakes_created_at ON wakes (created_at);
"""


def up(migrator: Any, db: Any) -> None:
    db.execute_sql(TABLES)


def down(migrator: Any, db: Any) -> None:
    db.execute_sql("DROP TABLE wakes; DROP TABLE inbox_messages")
