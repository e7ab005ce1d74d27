"""Which folder a run's files are opened in: one that no other process holds, however stopped."""

from __future__ import annotations

import os
import re
from pathlib import Path

from workers.workspaces import locks, trees
from workers.workspaces.git import WorkspaceError

RUN_ID = re.compile(r"[A-Za-z0-9_-]{1,128}", re.ASCII)
PATIENCE = 0.5  # seconds; whoever is done lets go within them
CANDIDATES = 10


def claim(root: Path, name: str) -> tuple[Path, int]:
    """A folder of this name and the lock on it.

    A stopped process keeps its lock until it wakes, when it may write into its folder once more.
    Its successor neither waits nor shares: it takes `<name>~1`, `<name>~2` and so on. Raises Busy
    when all are held.
    """
    first = root.absolute() / name
    try:
        return first, locks.acquire(lock_of(first), PATIENCE)
    except locks.Busy:
        for number in range(1, CANDIDATES):
            folder = first.with_name(f"{name}~{number}")
            if (lock := locks.attempt(lock_of(folder))) is not None:
                return folder, lock
        raise


def of_run(root: Path, run_id: str) -> list[Path]:
    """The folders this machine may have of a run, with those of merges made in its name."""
    first = root.absolute() / named(run_id)
    others = {found.with_suffix("") for found in first.parent.glob(f"{run_id}~*.lock")}
    return [first, *sorted(others)]


def names(root: Path) -> set[str]:
    """The runs (and the pushes and merges under way, or left by the dead) with folders here."""
    return {found.stem.partition("~")[0] for found in root.glob("*.lock")}


def remove(folder: Path) -> None:
    """Delete the folder and its lock's file; raises Busy when another process holds it."""
    lock = locks.acquire(lock_of(folder), PATIENCE)
    try:
        discard(folder)
    finally:
        os.close(lock)


def discard(folder: Path) -> None:
    """Delete a folder whose lock we hold, and the lock's file."""
    trees.delete(folder)
    lock_of(folder).unlink(missing_ok=True)


def lock_of(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.lock")


def named(run_id: str) -> str:
    """`run_id` if it may name a folder (`~` stays ours); raises WorkspaceError."""
    if not RUN_ID.fullmatch(run_id):
        raise WorkspaceError(f"{run_id!r} is not the id of a run")
    return run_id
