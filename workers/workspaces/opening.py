"""Bringing a run's files to where its last finished step left them, on whichever machine."""

from __future__ import annotations

import os
import re
from contextlib import ExitStack
from pathlib import Path

from models.blobs import Blobs
from workers.workspaces import locks, origins, trees
from workers.workspaces.git import WorkspaceError
from workers.workspaces.origins import Origin
from workers.workspaces.workspace import Saved, Workspace

RUN_ID = re.compile(r"[A-Za-z0-9_-]{1,128}", re.ASCII)
COMMIT = re.compile(r"[0-9a-f]{40,64}", re.ASCII)
CONFIG = "[core]\n\trepositoryformatversion = 0\n\tbare = false\n"
# The files go in and come out byte for byte, whatever a .gitattributes in the tree asks for.
ATTRIBUTES = "* -text -ident !eol !filter !working-tree-encoding\n"


def open_workspace(
    root: Path, run_id: str, saved: Saved | None, blobs: Blobs, origin: Origin | None = None
) -> Workspace:
    """The run's files exactly as `saved` has them, or new when nothing was saved yet.

    What a crashed step left uncommitted is dropped (ignored files stay where the folder is reused).
    Raises Busy while another process has them open, WorkspaceError when they cannot be had.
    """
    folder = _folder(root, run_id)
    lock = locks.acquire(root.absolute() / f"{run_id}.lock")
    with ExitStack() as undo:
        workspace = undo.enter_context(Workspace(folder, run_id, lock))
        if saved is None:
            _start(workspace, origin)
        else:
            _resume(workspace, saved, blobs, origin)
        undo.pop_all()
    return workspace


def remove(root: Path, run_id: str) -> None:
    """Delete what this machine keeps of the run's files; doing it twice is fine."""
    folder = _folder(root, run_id)
    path = root.absolute() / f"{run_id}.lock"
    lock = locks.acquire(path)
    try:
        trees.delete(folder)
        path.unlink(missing_ok=True)
    finally:
        os.close(lock)


def _folder(root: Path, run_id: str) -> Path:
    if not RUN_ID.fullmatch(run_id):
        raise WorkspaceError(f"{run_id!r} is not the id of a run")
    return root.absolute() / run_id


def _start(workspace: Workspace, origin: Origin | None) -> None:
    """An empty repository, or the origin's branch; whatever was here before goes."""
    trees.delete(workspace.git_dir)
    trees.delete(workspace.tree)
    workspace.tree.mkdir(parents=True)
    if origin is not None:
        origins.clone(workspace, origin)
    for folder in ("objects", "refs/heads", "info"):
        (workspace.git_dir / folder).mkdir(parents=True, exist_ok=True)
    (workspace.git_dir / "info" / "attributes").write_text(ATTRIBUTES)
    (workspace.git_dir / "config").write_text(CONFIG)
    (workspace.git_dir / "HEAD").write_text(f"ref: refs/heads/{workspace.branch}\n")
    if origin is not None:
        workspace.git("reset", "--hard", "--quiet")


def _resume(workspace: Workspace, saved: Saved, blobs: Blobs, origin: Origin | None) -> None:
    if not COMMIT.fullmatch(saved.commit):
        raise WorkspaceError(f"{saved.commit!r} is not a commit")
    try:
        _rewind(workspace, saved.commit)
    except (WorkspaceError, OSError):
        # Another machine's run, or a folder that a crash or a full disk damaged.
        _restore(workspace, saved, blobs, origin)


def _rewind(workspace: Workspace, commit: str) -> None:
    """Make the local folder be at `commit`; raises when it cannot be."""
    if workspace.tree.is_symlink() or not workspace.tree.is_dir():
        raise WorkspaceError("the tree is gone")
    for left in ("index.lock", "HEAD.lock", f"refs/heads/{workspace.branch}.lock"):
        (workspace.git_dir / left).unlink(missing_ok=True)  # nobody lives who could hold them
    if workspace.head() != commit or workspace.changed():
        workspace.git("reset", "--hard", "--quiet", commit)
        workspace.git("clean", "-ffd", "--quiet")


def _restore(workspace: Workspace, saved: Saved, blobs: Blobs, origin: Origin | None) -> None:
    """Build the folder again from the snapshot."""
    _start(workspace, origin)
    bundle = workspace.folder / "snapshot.bundle"
    reference = f"refs/heads/{workspace.branch}"
    try:
        blobs.save(saved.snapshot, bundle)
        workspace.git(
            *("-c", "protocol.file.allow=always", "fetch", "--quiet", "--no-tags"),
            *("--update-head-ok", str(bundle), f"+{reference}:{reference}"),
        )
        workspace.git("reset", "--hard", "--quiet", saved.commit)
    finally:
        bundle.unlink(missing_ok=True)
