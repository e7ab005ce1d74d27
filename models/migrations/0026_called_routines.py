"""What happens on GitHub wakes a routine of the agent that is assigned to it."""

from __future__ import annotations

from typing import Any

COLUMNS = """
ALTER TABLE project_github_agents ADD COLUMN routine_id VARCHAR(128);
ALTER TABLE github_agent_triggers ADD COLUMN firing_id VARCHAR(128);
ALTER TABLE pulse_firings ADD COLUMN context TEXT;
CREATE INDEX github_agent_triggers_firing_id ON github_agent_triggers (firing_id);
"""


def up(migrator: Any, db: Any) -> None:
    db.execute_sql(COLUMNS)


def down(migrator: Any, db: Any) -> None:
    db.execute_sql(
        """
        ALTER TABLE pulse_firings DROP COLUMN context;
        ALTER TABLE github_agent_triggers DROP COLUMN firing_id;
        ALTER TABLE project_github_agents DROP COLUMN routine_id;
        """
    )
