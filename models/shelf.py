"""Putting a library of agents and pipelines on the shelf: from a folder into Postgres.

A folder holds `agents/<id>/*.md + config.yml`, `pipelines/*.yml` and `skills/<id>/SKILL.md` with
companion files. What ships with the product, `templates/*.yml` of boards and `skills/grants.yml`
among it, is loaded by every migration; what a person has changed since is left as it is.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from models import agents, grammar, skill_texts, skills
from models.agents import Agent
from models.base import db
from models.errors import Invalid
from models.pipelines import Pipeline
from models.skills import Skill
from models.templates import ProjectTemplate

SHIPPED = Path(__file__).parent / "library"
TEXT_LIMIT = 1024 * 1024


def load_shipped() -> list[str]:
    """Load what ships, except what an operator or a client has changed."""
    return load(SHIPPED, shipped=True)


def load(folder: Path, shipped: bool = False) -> list[str]:
    """Load a folder in one transaction; gives a line for each thing. Invalid names the bad file."""
    if not folder.is_dir():
        raise Invalid(f"{folder} is not a folder with agents/ and pipelines/")
    with db.atomic():
        loaded = [_load_agent(path, shipped) for path in _folders(folder / "agents")]
        known = agents.known()
        files = sorted((folder / "pipelines").glob("*.y*ml"))
        loaded += [_load_pipeline(path, known, shipped) for path in files]
        loaded += load_skills(folder / "skills", shipped)
        if shipped:
            loaded += [
                _load_template(path) for path in sorted((folder / "templates").glob("*.yml"))
            ]
    return loaded


def _folders(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.is_dir() and path.name[0] not in "._")


def _load_agent(folder: Path, shipped: bool) -> str:
    if not (folder / "IDENTITY.md").is_file():
        raise Invalid(f"{folder} has no IDENTITY.md")
    files = {name: _text(folder / name) for name in agents.FILES if (folder / name).is_file()}
    config = _mapping(folder / "config.yml")
    if shipped and _changed_since(Agent, folder.name):
        return f"agent {folder.name} (kept as changed here)"
    try:
        Agent.store(folder.name, files, config, shipped)
    except Invalid as error:
        raise Invalid(f"{folder / 'config.yml'}: {error}") from None
    return f"agent {folder.name}"


def _load_pipeline(path: Path, known: set[str], shipped: bool) -> str:
    text = _text(path)
    parsed = grammar.parse(text, known)
    if parsed.definition is None:
        raise Invalid(f"{path}: {parsed.errors[0]}")
    if shipped and _changed_since(Pipeline, parsed.definition.id):
        return f"pipeline {parsed.definition.id} (kept as changed here)"
    Pipeline.store(parsed.definition.id, text, parsed, shipped)
    return f"pipeline {parsed.definition.id}"


def _load_template(path: Path) -> str:
    stored = ProjectTemplate.ship(_mapping(path))
    return f"template {path.stem}" + ("" if stored else " (kept as changed here)")


def load_skills(folder: Path, shipped: bool) -> list[str]:
    """Load skills; those that ship are given to agents when they come, and never again."""
    loaded, arrived = [], set()
    for path in _folders(folder):
        known = Skill.find(path.name)
        if shipped and known is not None and not known.shipped:
            loaded.append(f"skill {path.name} (kept as changed here)")
            continue
        sketch = skill_texts.parse(_text(path / "SKILL.md"))
        if sketch.error or sketch.name != path.name:
            fault = sketch.error or "name must be that of the folder"
            raise Invalid(f"{path / 'SKILL.md'}: {fault}")
        skills.store(sketch, _companions(path), shipped)
        loaded.append(f"skill {path.name}")
        arrived |= {path.name} if known is None else set()
    for agent_id, given in _mapping(folder / "grants.yml").items():
        skills.hand_out(agent_id, sorted(arrived & set(given)))
    return loaded


def _companions(folder: Path) -> dict[str, str]:
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    named = {str(path.relative_to(folder)): path for path in files}
    return {name: _text(path) for name, path in named.items() if name != "SKILL.md"}


def _changed_since(model: Any, key: str) -> bool:
    """Whether a person has put something else in its place: then `shipped` is false."""
    return bool(model.select().where((model.id == key) & ~model.shipped).exists())


def _text(path: Path) -> str:
    if path.stat().st_size > TEXT_LIMIT:
        raise Invalid(f"{path} is larger than 1 MiB")
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise Invalid(f"{path} is not UTF-8: {error.reason}") from None


def _mapping(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        read = yaml.safe_load(_text(path)) or {}
    except yaml.YAMLError as error:
        raise Invalid(f"{path}: {error}") from None
    if not isinstance(read, dict):
        raise Invalid(f"{path} must be a mapping of settings")
    return read
