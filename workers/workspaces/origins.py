"""The repository a project has: mirrored once per machine, a clone and branch for each run."""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path

from workers.workspaces import locks, trees
from workers.workspaces.git import Git, WorkspaceError
from workers.workspaces.workspace import BASE, Workspace

SECONDS = 600.0
REMOTE = re.compile(r"(https?|ssh|git)://[^\s]+", re.ASCII)


@dataclass(frozen=True)
class Origin:
    """Where a project's code lives (a folder or a URL) and the branch that runs start from."""

    repository: Path | str
    branch: str


def clone(workspace: Workspace, origin: Origin) -> None:
    """Fill the workspace's git directory from the origin, its branch starting at the origin's.

    A clone of its own, hard-linked to the mirror, and not a linked worktree: the sandbox can
    show it whole and read-only, and no run can hurt another's.
    """
    address = _address(origin.repository)
    key = hashlib.sha256(address.encode()).hexdigest()
    mirror = workspace.folder.parent.parent / "repositories" / f"{key}.git"
    lock = locks.acquire(mirror.with_suffix(".lock"), SECONDS)
    try:
        git = Git(mirror, workspace.tree, lock)
        git("check-ref-format", "--branch", origin.branch)
        _refresh(git, address)
        _branch_off(workspace, mirror, origin.branch)
    finally:
        os.close(lock)


def _address(repository: Path | str) -> str:
    if isinstance(repository, str) and REMOTE.fullmatch(repository):
        return repository
    path = Path(repository)
    if not path.is_dir():
        raise WorkspaceError(f"There is no repository at {repository}")
    return str(path.resolve())


def _refresh(git: Git, address: str) -> None:
    """Bring the mirror up to date; one that is damaged or missing is cloned again."""
    if not (git.git_dir / "whole").exists():
        trees.delete(git.git_dir)
        _transport(
            git, "clone", "--quiet", "--mirror", "--template=", "--", address, str(git.git_dir)
        )
        (git.git_dir / "whole").touch()
        return
    _transport(git, "fetch", "--quiet", "--prune", "--", address, "+refs/heads/*:refs/heads/*")


def _transport(git: Git, *arguments: str) -> None:
    allowed = [f"protocol.{name}.allow=always" for name in ("file", "http", "https", "ssh", "git")]
    options = [word for setting in allowed for word in ("-c", setting)]
    git(*options, *arguments, seconds=SECONDS)


def _branch_off(workspace: Workspace, mirror: Path, branch: str) -> None:
    _transport(
        workspace.git,
        *("clone", "--quiet", "--bare", "--no-tags", "--single-branch", f"--branch={branch}"),
        *("--template=", "--", str(mirror), str(workspace.git_dir)),
    )
    start = workspace.git("rev-parse", f"refs/heads/{branch}^{{commit}}").strip()
    workspace.git("update-ref", BASE, start)
    workspace.git("update-ref", f"refs/heads/{workspace.branch}", start)
