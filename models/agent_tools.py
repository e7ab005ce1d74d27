"""Tools that agents may not use: a row per agent and tool that somebody has decided about."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from peewee import BooleanField, CharField, CompositeKey, ForeignKeyField

from models.agents import Agent
from models.base import IDENTIFIER, Model, Moment, db, now_ms
from models.principals import Principal

LIFECYCLE = frozenset({"complete", "fail", "executor_complete", "executor_fail"})
# What sessions have that plan and delegate (pulses, wakes, chats), as far as it is there.
PLANNING = (
    *("read", "write", "edit", "bash", "grep", "find", "ls"),
    *("message_agent", "wake_agent"),
    *("create_project", "get_my_projects", "get_ready_tasks", "get_board_columns"),
    *("get_project_vision", "create_task", "create_subtask", "add_dependency", "update_task"),
    *("comment_task", "claim_task", "get_task_context", "transition_task", "get_task_workflow"),
    *("get_task_executor_runs", "execute_task", "open_pull_request", "get_task_pr_status"),
    *("spawn_executor", "swarm_execute", "get_run_history", "load_skill", "create_skill"),
    "fetch_skill_from_web",
)


class ToolOverride(Model):
    """Whether an agent may use a tool; without a row it may."""

    agent_id: str

    agent = ForeignKeyField(Agent, on_delete="CASCADE", index=False)
    tool_name = CharField(max_length=IDENTIFIER)
    enabled = BooleanField()
    updated_at = Moment(default=now_ms)
    updated_by = CharField(max_length=IDENTIFIER)

    class Meta:
        table_name = "agent_tools"
        primary_key = CompositeKey("agent", "tool_name")

    @classmethod
    def visible_to(cls, principal: Principal) -> Any:
        """Everybody who may see agents."""
        return cls.select()


def put(agent_id: str, overrides: Mapping[str, bool], updated_by: str) -> list[ToolOverride]:
    """Write what was decided about some tools of an agent; gives these rows, by name."""
    names = sorted(overrides)
    text = """
        INSERT INTO agent_tools (agent_id, tool_name, enabled, updated_at, updated_by)
        SELECT %s, told.name, told.enabled, %s, %s
        FROM unnest(%s::text[], %s::bool[]) AS told (name, enabled)
        ON CONFLICT (agent_id, tool_name) DO UPDATE SET enabled = excluded.enabled,
            updated_at = excluded.updated_at, updated_by = excluded.updated_by
        RETURNING *
    """
    enabled = [overrides[name] for name in names]
    return ToolOverride.read(text, agent_id, now_ms(), updated_by, names, enabled)


def disabled(agent_id: str) -> list[str]:
    """The tools an agent may not use right now."""
    text = """
        SELECT tool_name FROM agent_tools WHERE agent_id = %s AND NOT enabled ORDER BY tool_name
    """
    return [name for (name,) in db.now(text, (agent_id,))]
