"""Putting a tree into git's index, also while an agent's programs are still at work in it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from workers.workspaces import trees
from workers.workspaces.git import Git, Passing, WorkspaceError

TRIES = 8


def stage(git: Git) -> None:
    """Put everything into the index; nested repositories are none afterwards.

    `git` must be childless. Raises WorkspaceError when the files cannot be read.
    """

    def everything() -> None:
        trees.forget_nested(git.tree)
        _add(git, nested=True)

    _insist(git, everything)


def stage_amid(git: Git, aside: Path) -> None:
    """The same while the agent works: its nested repositories stay what they are.

    While git looks they are in the folder `aside`.
    """

    def everything() -> None:
        with trees.without_nested(git.tree, aside) as nested:
            _add(git, nested)

    _insist(git, everything)


def _insist(git: Git, stage: Callable[[], None]) -> None:
    """Programs an agent left running may make, change and delete files all the while."""
    for tries in range(1, TRIES + 1):
        try:
            (git.git_dir / "index.lock").unlink(missing_ok=True)  # of a git that took too long
            stage()
        except (WorkspaceError, OSError) as error:
            if tries < TRIES and git.tree.is_dir():
                trees.loosen(git.tree)
                continue
            if isinstance(error, Passing):
                raise
            raise git.error(f"The files cannot be read: {error}") from error
        else:
            return


def _add(git: Git, nested: bool) -> None:
    git("add", "--all")
    if nested and (filled := _filled_links(git)):
        git("update-index", "--force-remove", "-z", "--stdin", text="\0".join(filled))
        git("add", "--all")


def _filled_links(git: Git) -> list[str]:
    """The submodules somebody put files into, which git passes over.

    A program still running may have made one of a folder while git was going through it.
    """
    entries = git("ls-files", "--stage", "-z").split("\0")
    links = [entry.partition("\t")[2] for entry in entries if entry.startswith("160000 ")]
    return [link for link in links if any((git.tree / link).glob("*"))]
