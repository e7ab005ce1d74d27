"""What ships, and whether a test has changed it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from peewee import SQL, fn

from models import shelf
from models.skills import LIBRARY, AgentSkill, Skill

FOLDER = Path(shelf.SHIPPED) / "skills"
GRANTS: dict[str, list[str]] = yaml.safe_load((FOLDER / "grants.yml").read_text())
SKILLS = sorted(path.parent.name for path in FOLDER.glob("*/SKILL.md"))


def changed_skills() -> list[Any]:
    """Queries that find something where skills or grants are not as they ship."""
    changed = ~Skill.shipped | ~Skill.enabled | (Skill.version > 1) | (Skill.state != "approved")
    whole = (
        (Skill.select(fn.count(SQL("*"))), len(SKILLS)),
        (AgentSkill.select(fn.count(SQL("*"))), sum(map(len, GRANTS.values()))),
    )
    return [
        Skill.select().where(changed),
        AgentSkill.select().where(AgentSkill.granted_by != LIBRARY),
        *(Skill.select(SQL("1")).from_(SQL("(SELECT 1) AS one")).where(n != m) for n, m in whole),
    ]
