"""What has been decided about agents' tools."""

from __future__ import annotations

from typing import Any

TABLES = """
CREATE TABLE agent_tools (
    agent_id VARCHAR(128) NOT NULL REFERENCES agents (id) ON DELETE CASCADE,
    tool_name VARCHAR(128) NOT NULL,
    enabled BOOLEAN NOT NULL,
    updated_at BIGINT NOT NULL,
    updated_by VARCHAR(128) NOT NULL,
    PRIMARY KEY (agent_id, tool_name)
);
"""


def up(migrator: Any, db: Any) -> None:
    db.execute_sql(TABLES)


def down(migrator: Any, db: Any) -> None:
    db.execute_sql("DROP TABLE agent_tools")
