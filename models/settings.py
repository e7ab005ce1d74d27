"""The settings that admins change while the server runs: one table of what there is.

What is not set has its default, and what the environment says (`models.config`) is the default of
the model and of the time a step may take. Workers read them with each step that they begin, see
`terms`; the others wait for the parts that will read them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from peewee import CharField

from models import config
from models.agents import Agent
from models.base import JsonField, Model, Moment, db, dumps, now_ms
from models.config import Settings

LEVELS = ("off", "minimal", "low", "medium", "high", "xhigh")
LONGEST_MODEL, LONGEST_IMAGE = 256, 512
MOST = 2**31 - 1
IMAGE = re.compile(
    r"([A-Za-z0-9.-]+(:[0-9]{1,5})?/)?[a-z0-9._-]+(/[a-z0-9._-]+)*"
    r"(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(@sha256:[0-9a-f]{64})?"
)


@dataclass(frozen=True)
class Setting:
    """One setting: its default, which also says of what kind it is, and what it may be."""

    default: Any
    least: float = 0
    most: float = MOST
    choices: tuple[str, ...] = ()
    longest: int = LONGEST_MODEL
    pattern: re.Pattern[str] | None = None


def _at_least(least: int, default: int, most: int = MOST) -> Setting:
    return Setting(default, least, most)


SETTINGS: Mapping[str, Setting] = {
    "defaultWorkingModel": Setting(""),
    "defaultPlanningModel": Setting(""),
    "defaultExecutorModel": Setting(""),
    "defaultThinkingModel": Setting("openrouter/minimax/minimax-m2.5"),
    "defaultSlackDecisionModel": Setting("openrouter/minimax/minimax-m2.5"),
    "defaultWorkingModelThinkingLevel": Setting("off", choices=LEVELS),
    "defaultThinkingModelThinkingLevel": Setting("medium", choices=LEVELS),
    "defaultSlackDecisionModelThinkingLevel": Setting("off", choices=LEVELS),
    "pulseIntervalMinutes": _at_least(1, 30, 10_080),
    "pulseEnabled": Setting(True),
    "ptcEnabled": Setting(True),
    "wakeEnabled": Setting(True),
    "userSlackId": Setting("", longest=64),
    "agentRuntimeImage": Setting("", longest=LONGEST_IMAGE, pattern=IMAGE),
    "containerMemoryLimitMb": _at_least(128, 2048),
    "containerCpuLimit": Setting(2.0, 0.01, 1024),
    "containerShmSizeMb": _at_least(16, 256),
    "jfsAgentCacheSizeMb": _at_least(0, 2048),
    "containerReadyTimeoutSec": _at_least(1, 30),
    "defaultStepTimeoutSec": _at_least(1, 300, 86_400),
    "chatIdleTimeoutMin": _at_least(1, 30),
    "reaperIntervalSec": _at_least(1, 60),
    "wakeCooldownSec": _at_least(0, 300),
    "maxWakesPerDay": _at_least(0, 12),
    "maxWakesPerPairPerDay": _at_least(0, 5),
    "maxConcurrentPulseSessions": _at_least(1, 2),
    "defaultPulseTimeoutSec": _at_least(1, 120),
    "chatInactivityTimeoutSec": _at_least(1, 180),
    "chatHardTimeoutSec": _at_least(1, 900),
    "maxAutoContinuations": _at_least(0, 50),
}


class GlobalSetting(Model):
    """One setting that is not at its default."""

    key = CharField(max_length=128, primary_key=True)
    value = JsonField()
    updated_at = Moment(default=now_ms)

    class Meta:
        table_name = "global_settings"


def told() -> dict[str, Any]:
    """All settings as they stand."""
    return defaults() | stored()


def stored() -> dict[str, Any]:
    """The settings that are not at their defaults."""
    rows = GlobalSetting.read("SELECT * FROM global_settings")
    return {row.key: row.value for row in rows if row.key in SETTINGS}


def defaults() -> dict[str, Any]:
    """What each setting is as long as nobody changes it."""
    usual = config.settings()
    environment = {
        "defaultWorkingModel": usual.default_model,
        "defaultStepTimeoutSec": usual.step_timeout,
    }
    return {name: setting.default for name, setting in SETTINGS.items()} | environment


def store(changes: Mapping[str, Any]) -> None:
    """Write settings in the current transaction; an empty text takes the default back."""
    now = now_ms()
    for name in sorted(changes):
        if changes[name] == "":
            db.later("DELETE FROM global_settings WHERE key = %s", (name,))
        else:
            db.later(_STORE, (name, dumps(changes[name]), now))


def applied(usual: Settings, changed: Mapping[str, Any]) -> Settings:
    """The settings of a worker, with what admins have changed of them."""
    return replace(
        usual,
        default_model=changed.get("defaultWorkingModel") or usual.default_model,
        executor_model=changed.get("defaultExecutorModel") or usual.executor_model,
        thinking_level=changed.get("defaultWorkingModelThinkingLevel") or usual.thinking_level,
        step_timeout=changed.get("defaultStepTimeoutSec") or usual.step_timeout,
    )


def default_model() -> str:
    """The model of whoever names none."""
    return applied(config.settings(), stored()).default_model


def models() -> tuple[dict[str, str], str]:
    """The models that the configs of agents name, by the agents' ids, and that of the others."""
    rows = dict(db.now(_MODELS).fetchall())
    return rows, rows.pop(None, None) or config.settings().default_model


def terms(agent_id: str) -> tuple[Agent, Settings]:
    """How an agent is run, without its files, and the settings it works under: one statement."""
    identity, agent_config, hands, changed = db.now(_TERMS, (agent_id,)).fetchone()
    known = {"id": identity, "config": agent_config, "concurrent_steps": hands}
    agent = Agent(**known) if identity else Agent()
    return agent, applied(config.settings(), changed or {})


_STORE = """
    INSERT INTO global_settings (key, value, updated_at) VALUES (%s, %s, %s)
    ON CONFLICT (key) DO UPDATE SET value = excluded.value, updated_at = excluded.updated_at
"""
_MODELS = """
    SELECT id, config->>'model' FROM agents WHERE config->>'model' <> ''
    UNION ALL SELECT NULL, value #>> '{}' FROM global_settings WHERE key = 'defaultWorkingModel'
"""
_TERMS = """
    SELECT agents.id, agents.config, agents.concurrent_steps, (
        SELECT jsonb_object_agg(key, value) FROM global_settings)
    FROM (SELECT 1) AS one LEFT JOIN agents ON agents.id = %s
"""
