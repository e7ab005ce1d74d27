"""What the platform itself writes into a workspace: one entry per finished step, and its commit."""

from __future__ import annotations

import time
from pathlib import Path

from models.steps import Step
from workers.agents.tools.base import bounded
from workers.agents.tools.tree import OutOfBounds, Tree
from workers.workspaces import trees

FOLDER = ".djinn"
FILE = f"{FOLDER}/progress.md"
ENTRY = 2_000  # characters of one entry
KEPT = 200_000  # characters of the whole file
SUBJECT = 100


def read(tree: Path) -> str:
    """The entries so far; nothing when an agent has removed or replaced the file."""
    try:
        return Tree(tree).read(FILE).decode("utf-8", "replace")
    except (OutOfBounds, OSError):
        return ""


def append(tree: Path, step: Step, summary: str) -> None:
    """Add an entry for a finished step; doing it twice leaves one."""
    heading = f"## {step.step_id} by {step.agent_id} ({step.id})"
    before = read(tree)
    if heading in before:
        return
    day = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())
    entry = f"{heading}\n\n{day}\n\n{bounded(summary.strip(), ENTRY)}\n\n"
    text = (before + entry)[-KEPT:].encode()
    try:
        Tree(tree).write(FILE, text)
    except (OutOfBounds, OSError):  # an agent put something else in its place, or shut it
        trees.loosen(tree)
        trees.delete(tree / FOLDER)
        Tree(tree).write(FILE, text)


def commit_message(step: Step, summary: str) -> str:
    """`step/{step} ({agent}): {summary}`."""
    lines = summary.strip().splitlines() or ["done"]
    return f"step/{step.step_id} ({step.agent_id}): {lines[0][:SUBJECT]}"
