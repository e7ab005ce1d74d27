"""Changing agents."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from models.agents import FILES, Agent, hands, identity
from models.base import db, now_ms
from models.errors import Malformed


def configure(agent_id: str, changes: Mapping[str, Any]) -> Agent:
    """Merge settings (keys of config.yml) into an agent's config; nested mappings merge too."""
    with db.atomic():
        agent = _locked(agent_id)
        agent.config = _merged(agent.config, changes)
        agent.concurrent_steps = hands(agent.config)
        return _save(agent)


def write_file(agent_id: str, name: str, text: str) -> Agent:
    """Replace one persona file; IDENTITY.md also renames the agent."""
    if name not in FILES:
        raise Malformed(f"{name} is not a persona file; there are {', '.join(FILES)}")
    with db.atomic():
        agent = _locked(agent_id)
        agent.files = agent.files | {name: text}
        if name == "IDENTITY.md":
            for column, value in identity(text, agent.id).items():
                setattr(agent, column, value)
        return _save(agent)


def _locked(agent_id: str) -> Agent:
    agent: Agent | None = Agent.select().where(Agent.id == agent_id).for_update().first()
    if agent is None:
        raise Agent.missing(agent_id)
    return agent


def _save(agent: Agent) -> Agent:
    agent.shipped = False
    agent.updated_at = now_ms()
    agent.save()
    return agent


def _merged(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    nested = {
        key: _merged(old.get(key) or {}, value) if isinstance(value, Mapping) else value
        for key, value in new.items()
    }
    return {**old, **nested}
