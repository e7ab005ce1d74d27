"""Agents: who they are (their files) and how they are run (their config)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Self

from peewee import SQL, BooleanField, CharField, IntegerField, TextField

from models.base import IDENTIFIER, Common, JsonField, Moment, db, now_ms
from models.errors import Invalid

MOST_HANDS = 1000
DAILY_MINUTES = 120
MOST_MINUTES = 10**9  # more mean as long as it likes
FILES = ("IDENTITY.md", "SOUL.md", "AGENTS.md", "DECISION.md")
LONGEST = {"name": 256, "emoji": 32, "role": 256}  # what its columns hold
_LINE = re.compile(
    r"^\s*(?:[-*]\s*)?\**(Name|Emoji|Role|Description)\s*:\**\s*:?\s*(.+?)\s*$", re.I
)
_HEADING = re.compile(r"^#\s+(.+?)\s*$", re.M)


class Agent(Common):
    """One agent of the library. `config` holds the keys of its config.yml."""

    label = "Agent"

    id = CharField(max_length=IDENTIFIER, primary_key=True)
    name = CharField(max_length=LONGEST["name"])
    emoji = CharField(max_length=LONGEST["emoji"], null=True)
    role = CharField(max_length=LONGEST["role"], null=True)
    description = TextField(null=True)
    files = JsonField(default=dict)
    config = JsonField(default=dict)
    concurrent_steps = IntegerField(default=2)
    shipped = BooleanField(default=False)
    created_at = Moment(default=now_ms)
    updated_at = Moment(default=now_ms)

    class Meta:
        table_name = "agents"

    @classmethod
    def store(
        cls, agent_id: str, files: dict[str, str], config: dict[str, Any], shipped: bool
    ) -> Self:
        """Write an agent; a config that was changed here is kept when a shipped one is reloaded."""
        now = now_ms()
        row = {
            "id": agent_id,
            **identity(files.get("IDENTITY.md", ""), agent_id),
            "files": files,
            "config": config,
            "concurrent_steps": hands(config),
            "shipped": shipped,
            "created_at": now,
            "updated_at": now,
        }
        cls.upsert(row)
        return cls.get_by_id(agent_id)

    @classmethod
    def lock(cls, agent_id: str) -> None:
        """Take its row lock, at the latest with the next statement that is answered."""
        db.later("SELECT 1 FROM agents WHERE id = %s FOR NO KEY UPDATE", (agent_id,))

    @property
    def model(self) -> str | None:
        return self.config.get("model") or None

    @property
    def daily_minutes(self) -> int:
        """How long it may work unasked in a UTC day, in pulses and wakes of one owner."""
        rails = (self.config.get("coordination") or {}).get("wake_guardrails") or {}
        return min(int(rails.get("max_daily_session_minutes", DAILY_MINUTES)), MOST_MINUTES)


def hands(config: Mapping[str, Any]) -> int:
    """How many steps an agent of this config works on at once; Invalid for a config that is not."""
    number = config.get("max_concurrent_steps", 2)
    if not isinstance(number, int) or isinstance(number, bool) or not 1 <= number <= MOST_HANDS:
        raise Invalid(f"max_concurrent_steps must be a whole number from 1 to {MOST_HANDS}")
    if not isinstance(config.get("model") or "", str):
        raise Invalid("model must be a text such as anthropic/claude-sonnet-4-6")
    return number


def known() -> set[str]:
    """The ids of all agents."""
    rows: Any = Agent.select(Agent.id).tuples()
    return {row[0] for row in rows}


def identity(text: str, fallback: str) -> dict[str, str | None]:
    """Name, emoji, role and description from `- **Key:** value` lines of an IDENTITY.md."""
    found: dict[str, str | None] = {"emoji": None, "role": None, "description": None}
    for line in text.splitlines():
        if match := _LINE.match(line):
            found[match[1].lower()] = match[2].strip("* ")
    heading = _HEADING.search(text)
    found.setdefault("name", heading[1] if heading else fallback)
    return {column: value and value[: LONGEST.get(column)] for column, value in found.items()}


def summaries(query: Any) -> Any:
    """The query for what lists show of agents, as dicts, without the texts of their files."""
    shown = (Agent.id, Agent.name, Agent.emoji, Agent.role, Agent.description)
    names = SQL("ARRAY(SELECT jsonb_object_keys(files))").alias("file_names")
    model = SQL("NULLIF(config->>'model', '')").alias("model")
    pulse = SQL("config->'pulse_enabled'").alias("pulse_enabled")
    return query.select(*shown, names, model, pulse).order_by(Agent.id).dicts()
