"""Bringing a run's files to where its last finished step left them, on whichever machine."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from models.blobs import Blobs
from workers.workspaces import folders, origins, starts, trees
from workers.workspaces.git import WorkspaceError
from workers.workspaces.origins import Origin
from workers.workspaces.starts import Start
from workers.workspaces.workspace import COMMIT, WHOLE, WORK, Saved, Workspace

CONFIG = "[core]\n\trepositoryformatversion = 0\n\tbare = false\n"
# The files go in and come out byte for byte, and merge as text, whatever a .gitattributes asks for.
# Only the platform's own journal, to which every step appends, keeps the lines of both sides.
ATTRIBUTES = (
    "* -text -ident !eol !filter !working-tree-encoding !merge\n/.djinn/progress.md merge=union\n"
)
Beginning = Saved | Sequence[Start] | None


def open_workspace(
    root: Path, run_id: str, saved: Beginning, blobs: Blobs, origin: Origin | None = None
) -> Workspace:
    """The run's files exactly as `saved` has them (another run's will do).

    When nothing was saved yet, `saved` is None for new files, or the starts to merge into the
    run's first ones; those that conflict are left out and in `conflicts`. What a crashed step left
    uncommitted is dropped (ignored files stay where the folder is reused).
    Raises Busy when other processes keep them open, WorkspaceError when they cannot be had.
    """
    folder, lock = folders.claim(root, folders.named(run_id))
    with ExitStack() as undo:
        workspace = undo.enter_context(Workspace(folder, run_id, lock))
        workspace.origin = origin
        workspace.rebuild = partial(_build, saved=saved, blobs=blobs, origin=origin)
        if not isinstance(saved, Saved) or not _rewound(workspace, saved.commit):
            workspace.rebuild(workspace)
        undo.pop_all()
    return workspace


def remove(root: Path, run_id: str) -> None:
    """Delete what this machine keeps of the run's files; doing it twice is fine.

    Raises Busy while another process has some of them open.
    """
    for folder in folders.of_run(root, run_id):
        folders.remove(folder)


def begin(workspace: Workspace, origin: Origin | None) -> None:
    """An empty repository, or the origin's; whatever was here before goes, the tree stays empty."""
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


def _build(workspace: Workspace, saved: Beginning, blobs: Blobs, origin: Origin | None) -> None:
    """The folder from nothing: another machine's run, a damaged folder, a run's first step."""
    begin(workspace, origin)
    if isinstance(saved, Saved):
        starts.gather(workspace, saved, (), blobs)
    elif cloned := _origin_of(workspace):
        starts.gather(workspace, cloned[0].saved, [*cloned[1:], *(saved or ())], blobs)
    elif saved:
        starts.gather(workspace, saved[0].saved, saved, blobs)
    if workspace.head() is not None:
        workspace.git("reset", "--hard", "--quiet")


def _origin_of(workspace: Workspace) -> list[Start]:
    """What the clone begins with, of which nothing needs to be fetched.

    The branch that the work is for goes first, so that what is left of it can be pushed there; the
    one it is a part of and the project's own are merged into it, unless they conflict.
    """
    names = {"work": WORK, "whole": WHOLE}
    named = {name: workspace.named_by(reference) for name, reference in names.items()}
    named["origin"] = workspace.head()
    return [Start(name, Saved(commit, "")) for name, commit in named.items() if commit]


def _rewound(workspace: Workspace, commit: str) -> bool:
    """Whether the local folder could be put to `commit`."""
    if not COMMIT.fullmatch(commit):
        raise WorkspaceError(f"{commit!r} is not a commit")
    if workspace.tree.is_symlink() or not workspace.tree.is_dir():
        return False
    try:
        workspace.forget_locks()
        if workspace.head() != commit or workspace.changed():
            workspace.git("reset", "--hard", "--quiet", commit)
            workspace.git("clean", "-ffd", "--quiet")
    except (WorkspaceError, OSError):
        return False  # another machine's run, or a folder that a crash or a full disk damaged
    return True
