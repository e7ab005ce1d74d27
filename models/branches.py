"""Names of git branches made from words that people and agents chose."""

from __future__ import annotations

import re
from collections.abc import Collection
from itertools import chain, count

# A key ends a branch's name, so it must be what git takes as the end of one. `$` alone would let
# a line break follow.
KEY = r"^(?!.*\.\.)(?!.*\.lock$)[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,62}[A-Za-z0-9_-])?$(?!\n)"
KEY_IN_WORDS = (
    "1 to 64 letters, digits, _ . or -, beginning with none of . and -,"
    " without .. and not ending in . or .lock"
)
SLUG = 40


def task_branch(task_id: str, title: str) -> str:
    """The branch of a task: `feat/{task}-{title}`, each made fit for git."""
    words = re.sub(r"[^a-z0-9]+", "-", title.lower())[:SLUG].strip("-")
    parts = [_fit(task_id), words]
    return "feat/" + ("-".join(part for part in parts if part) or "task")


def executor_branch(branch: str, key: str | None) -> str:
    """The branch that one executor of a task works on."""
    return f"{branch}-{key}" if key else branch


def whole_branch(branch: str, key: str | None) -> str:
    """The branch of the task that one of its executors works for."""
    return branch.removesuffix(executor_branch("", key)) if key else branch


def another(branch: str, taken: Collection[str]) -> str:
    """The branch, with a number at its end if there is one of that name already."""
    names = chain([branch], (f"{branch}-{number}" for number in count(2)))
    return next(name for name in names if name not in taken)


def _fit(words: str) -> str:
    """`words` without what git refuses in the middle of a name."""
    dashed = re.sub(r"[^A-Za-z0-9_.-]+", "-", words)
    single = re.sub(r"\.{2,}", ".", dashed).strip(".-")
    return re.sub(r"(\.lock)+$", "", single).rstrip(".-")
