"""What is there from the beginning."""

from __future__ import annotations

AGENT = "yukihiro"
SHIPPED = {"agent_id": AGENT, "pipeline_id": "bugfix", "filename": "SOUL.md", "tool_name": "bash"}
