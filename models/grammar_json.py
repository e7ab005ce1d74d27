"""A definition as JSON and back, the same for ever: its fingerprint is a pipeline version's id."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from models.definitions import (
    Action,
    AgentSpec,
    Definition,
    Loop,
    Notify,
    OutputSchema,
    StepSpec,
)


def to_json(definition: Definition) -> dict[str, Any]:
    """The definition as plain JSON values.

    Where the order of keys means something (which result matches first, how a schema reads to a
    model) it is kept in a list or a text, because a jsonb column forgets it.
    """
    return {
        "id": definition.id,
        "name": definition.name,
        "version": definition.version,
        "description": definition.description,
        "agents": [listed(asdict(agent)) for agent in definition.agents],
        "steps": [step_to_json(step) for step in definition.steps],
    }


def step_to_json(step: StepSpec) -> dict[str, Any]:
    schema = step.output_schema
    named = {name: getattr(step, name) for name in StepSpec.__dataclass_fields__}
    named["loop"] = None if step.loop is None else asdict(step.loop)
    named["on_result"] = [[value, asdict(action)] for value, action in step.on_result.items()]
    named["output_schema"] = schema and {
        "name": schema.name,
        "schema": json.dumps(schema.schema),
        "strict": schema.strict,
        "method": schema.method,
    }
    return listed(named)


def listed(values: dict[str, Any]) -> dict[str, Any]:
    """Tuples as the lists that JSON has."""
    return {key: list(each) if isinstance(each, tuple) else each for key, each in values.items()}


def from_json(data: Mapping[str, Any]) -> Definition:
    """The definition that `to_json` wrote."""
    return Definition(
        id=data["id"],
        name=data["name"],
        version=data["version"],
        description=data["description"],
        agents=tuple(AgentSpec(**frozen(agent, "tools")) for agent in data["agents"]),
        steps=tuple(step_from_json(step) for step in data["steps"]),
    )


def step_from_json(data: Mapping[str, Any]) -> StepSpec:
    loop, schema = data["loop"], data["output_schema"]
    values = frozen(data, "tools", "outputs")
    values["on_result"] = {value: action_from_json(action) for value, action in data["on_result"]}
    values["loop"] = None if loop is None else Loop(**loop)
    values["output_schema"] = None
    if schema is not None:
        values["output_schema"] = OutputSchema(**{**schema, "schema": json.loads(schema["schema"])})
    return StepSpec(**values)


def action_from_json(data: Mapping[str, Any]) -> Action:
    notify = data["notify"]
    return Action(**{**data, "notify": None if notify is None else Notify(**notify)})


def frozen(data: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """A copy with the lists under `names` as tuples again."""
    tuples = {name: None if data[name] is None else tuple(data[name]) for name in names}
    return {**data, **tuples}


def fingerprint(definition: Definition) -> str:
    """SHA-256 (hex) of the definition's canonical JSON; equal definitions have equal ones."""
    canonical = json.dumps(to_json(definition), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()
