"""What kind of work a task is, told by its tags or the words of its title."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

TAGS: Mapping[str, frozenset[str]] = {
    "bugfix": frozenset({"bug", "bugfix", "fix", "hotfix", "defect", "regression"}),
    "test": frozenset({"test", "tests", "testing", "qa", "e2e", "coverage"}),
    "refactor": frozenset({"refactor", "refactoring", "cleanup", "tech-debt", "debt"}),
    "docs": frozenset({"docs", "doc", "documentation", "readme"}),
    "infrastructure": frozenset(
        {"infrastructure", "infra", "ci", "cd", "ci/cd", "deploy", "deployment", "devops", "docker"}
    ),
    "design": frozenset({"design", "ux", "ui", "wireframe", "mockup"}),
    "feature": frozenset({"feature", "feat", "enhancement"}),
}
# in this order: "Fix the tests" is a fix, "Test the deployment" a test
WORDS: Mapping[str, str] = {
    "bugfix": r"bug|bugfix|fix|fixes|hotfix|crash|regression|repair",
    "test": r"test|tests|testing|e2e|coverage",
    "refactor": r"refactor|refactoring|clean ?up|simplify|restructure|rename",
    "docs": r"docs?|document|documentation|readme|changelog|guide",
    "infrastructure": r"infrastructure|ci|cd|deploy|deployment|docker|kubernetes|pipeline|devops",
    "design": r"design|wireframe|mockup|ux|ui",
    "feature": r"add|build|create|implement|feature|support|introduce",
}
_WORDS = {kind: re.compile(rf"\b(?:{words})\b", re.IGNORECASE) for kind, words in WORDS.items()}


def inferred(tags: Sequence[str], title: str) -> str | None:
    """The kind of work, by the first tag that tells, else by the title; None when neither does."""
    for tag in tags:
        for kind, known in TAGS.items():
            if tag.lower() in known:
                return kind
    return next((kind for kind, words in _WORDS.items() if words.search(title)), None)
