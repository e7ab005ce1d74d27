"""Beginning where other runs ended: their commits, merged in order into one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from models.blobs import Blobs
from workers.workspaces.git import Git, WorkspaceError, may_name
from workers.workspaces.objects import write_commit
from workers.workspaces.workspace import Conflict, Saved, Workspace

LEFT = "refs/djinn/left"
MISUSED = 129  # how a git before 2.38 ends, which can only merge in a work tree


@dataclass(frozen=True)
class Start:
    """Files to begin from, and the name under which their conflicts are told."""

    name: str
    saved: Saved


def gather(workspace: Workspace, first: Saved, starts: Sequence[Start], blobs: Blobs) -> None:
    """Put the branch on `first` with the starts merged into it in order.

    One that conflicts is left out: it is in `workspace.conflicts`, its commit at `LEFT/<name>`.
    A saved commit without a snapshot is here already. The same starts make the same commit on every
    machine. The work tree is the caller's to fill.
    """
    _check_names(workspace.git, [start.name for start in starts])
    wanted = [first, *(start.saved for start in starts)]
    for snapshot in dict.fromkeys(saved.snapshot for saved in wanted if saved.snapshot):
        workspace.unbundle(snapshot, blobs)
    commits = [saved.commit for saved in wanted]
    if missing := set(commits) - workspace.known(commits):
        raise WorkspaceError(f"The snapshot does not have commit {min(missing)}")
    head, conflicts = first.commit, []
    for start in starts:
        joined = _joined(workspace, head, start)
        if isinstance(joined, Conflict):
            conflicts.append(joined)
            workspace.git("update-ref", f"{LEFT}/{start.name}", joined.commit)
        else:
            head = joined
    workspace.point(f"refs/heads/{workspace.branch}", head)
    workspace.conflicts = tuple(conflicts)


def _check_names(git: Git, names: Sequence[str]) -> None:
    """Names come from models and strangers: each must be one a reference can have, and only one."""
    if len(set(names)) != len(names):
        raise WorkspaceError("Two of the starts have the same name")
    for name in names:
        if not may_name(git, f"{LEFT}/{name}"):
            raise WorkspaceError(f"{name!r} cannot be the name of a start")


def _joined(workspace: Workspace, ours: str, start: Start) -> str | Conflict:
    """The commit that has both, or on which files they do not agree."""
    git, theirs = workspace.git, start.saved.commit
    ahead, behind = git("rev-list", "--left-right", "--count", f"{ours}...{theirs}").split()
    if behind == "0":
        return ours
    if ahead == "0":
        return theirs
    tree, files = merged_trees(workspace, ours, theirs)
    if tree is None:
        return Conflict(start.name, theirs, files)
    seconds = git("show", "--no-patch", "--format=%ct", ours, theirs).split()
    message, when = f"Merge {start.name}", max(map(int, seconds))
    return write_commit(workspace.git_dir, [ours, theirs], tree, message, when)


def merged_trees(
    workspace: Workspace, ours: str, theirs: str
) -> tuple[str | None, tuple[str, ...]]:
    """The tree of both commits, or None and the files in conflict; touches no file, if git can."""
    done = workspace.git.outcome(
        *("merge-tree", "--write-tree", "--allow-unrelated-histories", "--no-messages"),
        *("--name-only", "-z", ours, theirs),
        fine=(0, 1, MISUSED),
    )
    if done.code == MISUSED:
        return merged_in_tree(workspace, ours, theirs)
    tree, *files = done.said.rstrip("\0").split("\0")
    return (None, tuple(files)) if done.code else (tree, ())


def merged_in_tree(
    workspace: Workspace, ours: str, theirs: str
) -> tuple[str | None, tuple[str, ...]]:
    """The same by an older git, which needs the work tree for it."""
    git = workspace.git
    workspace.point(f"refs/heads/{workspace.branch}", ours)
    git("reset", "--hard", "--quiet")
    done = git.outcome(
        *("merge", "--quiet", "--no-commit", "--no-ff", "--no-verify", "--no-gpg-sign"),
        *("--allow-unrelated-histories", theirs),
        fine=(0, 1),
    )
    names = git("diff", "--name-only", "--diff-filter=U", "-z") if done.code else ""
    tree = None if done.code else git("write-tree").strip()
    git("reset", "--hard", "--quiet")
    return tree, tuple(names.split("\0")[:-1])
