"""Deciding which tools an agent may use; those at work heed it from their next turn on."""

from __future__ import annotations

import re
from collections.abc import Mapping

from models import agent_tools, audit, events
from models.agent_tools import LIFECYCLE, ToolOverride
from models.base import IDENTIFIER, db
from models.errors import Invalid, Malformed
from models.principals import Principal

NAME = re.compile(rf"[A-Za-z0-9_.:-]{{1,{IDENTIFIER}}}")


def decide(
    principal: Principal, agent_id: str, overrides: Mapping[str, bool]
) -> list[ToolOverride]:
    """Allow or forbid an agent some tools; gives what is decided about these now."""
    if not overrides:
        raise Malformed("overrides list must not be empty")
    if strange := next((name for name in overrides if not NAME.fullmatch(name)), None):
        raise Invalid(f"tool_name: {strange[:IDENTIFIER]!r} is not the name of a tool")
    if kept := sorted(name for name in LIFECYCLE & set(overrides) if not overrides[name]):
        raise Invalid(f"Without {', '.join(kept)} an agent could never finish")
    with db.atomic():
        rows = agent_tools.put(agent_id, overrides, principal.id)
        audit.record(principal, "agent_tools.decided", agent_id, tools=dict(overrides))
        _tell(agent_id)
    return rows


def forget(principal: Principal, agent_id: str, tool_name: str) -> None:
    """Let an agent use a tool as if nobody had ever decided about it."""
    mine = (ToolOverride.agent == agent_id) & (ToolOverride.tool_name == tool_name)
    with db.atomic():
        if ToolOverride.delete().where(mine).execute():
            audit.record(principal, "agent_tools.forgotten", agent_id, tool=tool_name)
            _tell(agent_id)


def _tell(agent_id: str) -> None:
    events.announce(None, ("agent_tools_changed", {"agentId": agent_id}))
