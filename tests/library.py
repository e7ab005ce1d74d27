"""What ships with the product, told by its files."""

from __future__ import annotations

from pathlib import Path

import yaml

from models import shelf

FOLDER = Path(shelf.SHIPPED) / "skills"
GRANTS: dict[str, list[str]] = yaml.safe_load((FOLDER / "grants.yml").read_text())
SKILLS = sorted(path.parent.name for path in FOLDER.glob("*/SKILL.md"))
