"""Looking at what a step left."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from models.blobs import Blobs
from workers.workspaces import Saved, Workspace


def files(tree: Path) -> dict[bytes, bytes]:
    """Every file below `tree` by its raw name; a link is its target."""
    found = {}
    for path in tree.rglob("*"):
        name = os.fsencode(path.relative_to(tree))
        if path.is_symlink():
            found[name] = os.fsencode(path.readlink())
        elif path.is_file():
            found[name] = path.read_bytes()
    return found


def kept(workspace: Workspace, blobs: Blobs, step: str = "exec_1") -> Saved:
    """What a finished step leaves."""
    commit = workspace.commit("a step", "finn", step)
    return Saved(commit, workspace.snapshot(blobs))


def nested(folder: Path, *, commits: bool) -> Path:
    folder.mkdir()
    (folder / "inner.txt").write_text("inner")
    run = ["git", "-C", str(folder), "-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run([*run, "init", "-q"], check=True)
    if commits:
        subprocess.run([*run, "add", "-A"], check=True)
        subprocess.run([*run, "commit", "-qm", "x"], check=True)
    return folder
