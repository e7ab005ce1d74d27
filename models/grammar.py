"""The pipeline language: YAML to a valid `Definition`, or to messages that name key and line."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

from models.definitions import AgentSpec, Definition, StepSpec
from models.grammar_checks import check_steps
from models.grammar_fields import Fields, Notes
from models.grammar_json import fingerprint, from_json, to_json
from models.grammar_steps import (
    ALLOWANCE_KEYS,
    LONGEST_MODEL,
    THINKING_LEVELS,
    Allowance,
    read_allowance,
    read_step,
)
from models.grammar_yaml import Node, Problem, load

__all__ = ["Parsed", "Problem", "fingerprint", "from_json", "parse", "to_json"]

IDENTIFIER = re.compile(r"[A-Za-z0-9_-]{1,128}\Z")
MAX_STEPS = 200  # as many as a run may execute; the checks of the graph are quadratic
TOP_KEYS = ("id", "name", "version", "description", "defaults", "agents", "steps")
AGENT_KEYS = ("id", "name", "persona", "model", "tools", "thinkingLevel")


@dataclass(frozen=True)
class Parsed:
    """What a text turned out to be: a definition, or the errors that stand in its way.

    `raw` is the mapping as YAML reads it, {} when the text is no mapping.
    """

    definition: Definition | None
    errors: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)
    raw: dict[str, Any] = field(default_factory=dict)


def parse(text: str, agents: Collection[str] | None = None) -> Parsed:
    """Read a pipeline; never raises. `agents` are the ids of the library, None skips that check."""
    root, problems = load(text)
    notes = Notes(errors=list(problems))
    if root is None:
        return Parsed(None, notes.errors)
    if not isinstance(root.value, dict):
        notes.error(root, "a pipeline is a mapping with id, name, agents and steps")
        return Parsed(None, notes.errors)
    definition = read_pipeline(Fields(root, notes, TOP_KEYS), agents)
    return Parsed(
        definition=None if notes.errors else definition,
        errors=in_order(notes.errors),
        warnings=in_order(notes.warnings),
        raw=root.value,
    )


def in_order(problems: Sequence[Problem]) -> list[Problem]:
    """From the top of the file to its end; what has no line comes first."""
    return sorted(problems, key=lambda problem: problem.line or 0)


def read_pipeline(fields: Fields, library: Collection[str] | None) -> Definition:
    pipeline_id = read_identifier(fields)
    defaults_node = fields.mapping("defaults")
    defaults = Allowance()
    if defaults_node is not None:
        defaults = read_allowance(Fields(defaults_node, fields.notes, ALLOWANCE_KEYS))
    agents = read_agents(fields, library)
    return Definition(
        id=pipeline_id,
        name=fields.required("name"),
        version=fields.text("version") or "1.0.0",
        description=fields.text("description") or "",
        agents=agents,
        steps=read_steps(fields, defaults, agents),
    )


def read_identifier(fields: Fields) -> str:
    identifier = fields.required("id")
    if identifier.strip() and not IDENTIFIER.match(identifier):
        fields.notes.error(fields.at("id"), "may hold letters, digits, _ and - only, at most 128")
    return identifier


def read_agents(fields: Fields, library: Collection[str] | None) -> tuple[AgentSpec, ...]:
    agents: dict[str, AgentSpec] = {}
    for node in fields.mappings("agents"):
        agent = read_agent(Fields(node, fields.notes, AGENT_KEYS))
        place = node.fields.get("id", node)
        if agent.id and agent.id in agents:
            fields.notes.error(place, f"agent `{agent.id}` is declared twice")
        elif agent.id and library is not None and agent.id not in library:
            fields.notes.warn(place, f"agent `{agent.id}` is not in the library")
        agents[agent.id] = agent
    return tuple(agents.values())


def read_agent(fields: Fields) -> AgentSpec:
    agent_id = read_identifier(fields)
    return AgentSpec(
        id=agent_id,
        name=fields.text("name") or agent_id,
        persona=fields.text("persona"),
        model=fields.text("model", LONGEST_MODEL),
        tools=fields.texts("tools"),
        thinking_level=fields.choice("thinkingLevel", THINKING_LEVELS),
    )


def read_steps(
    fields: Fields, defaults: Allowance, agents: Sequence[AgentSpec]
) -> tuple[StepSpec, ...]:
    known = {agent.id: agent for agent in agents}
    placed: list[tuple[Node, StepSpec]] = []
    seen: set[str] = set()
    for node in fields.mappings("steps"):
        step = read_step(node, fields.notes, defaults, known)
        if step.id and step.id in seen:
            place = node.fields.get("id", node)
            fields.notes.error(place, f"step `{step.id}` is declared twice")
        seen.add(step.id)
        placed.append((node, step))
    if len(placed) > MAX_STEPS:
        fields.notes.error(fields.at("steps"), f"{len(placed)} steps, more than {MAX_STEPS}")
    else:
        check_steps(placed, known, fields.notes)
    return tuple(step for _, step in placed)
