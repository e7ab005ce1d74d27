"""A run's files while a step works on them."""

from __future__ import annotations

import os
import re
import weakref
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from models.blobs import Blobs
from workers.workspaces import trees
from workers.workspaces.git import Git, WorkspaceError

TRAILER = "Djinn-Step: "
STEP = re.compile(r"[A-Za-z0-9_.:-]{1,128}", re.ASCII)
MESSAGE_CHARS = 64_000
LOG_CHARS = 200
BASE = "refs/djinn/base"


@dataclass(frozen=True)
class Saved:
    """Where a run's files stand: its last commit and the blob that holds it."""

    commit: str
    snapshot: str


class Workspace:
    """The open files of one run on this machine; a context manager that lets go of the lock."""

    def __init__(self, folder: Path, run_id: str, lock: int) -> None:
        self.folder = folder
        self.tree = folder / "tree"
        self.git_dir = folder / "repo.git"
        self.branch = f"run/{run_id}"
        self.git = Git(self.git_dir, self.tree, lock)
        # A workspace nobody closed lets go of its lock when it is forgotten.
        self.close = weakref.finalize(self, os.close, lock)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def head(self) -> str | None:
        """The last commit, or None when there is none."""
        path = self.git_dir / "refs" / "heads" / self.branch
        return path.read_text().strip() if path.exists() else None

    def log(self, n: int = 10) -> list[str]:
        """The last `n` commits as `<short hash> <subject>`, newest first."""
        if self.head() is None:
            return []
        lines = self.git("log", f"-{n}", "--format=%h %s").splitlines()
        return [line[:LOG_CHARS] for line in lines]

    def changed(self) -> bool:
        """Whether the tree differs from the last commit."""
        return bool(self.git("status", "--porcelain", "--ignore-submodules=all"))

    def commit(self, message: str, author: str, step: str) -> str:
        """Commit everything in the tree for the step execution `step`; return the commit.

        The message ends in the trailer `Djinn-Step: <step>`, by which committing it again returns
        the same commit. Files the tree's own .gitignore names stay out; nested repositories
        become plain files.
        """
        if not STEP.fullmatch(step):
            raise WorkspaceError(f"{step!r} cannot be written in a commit")
        head = self.head()
        if head is not None and self._step_of(head) == step:
            return head
        self._stage()
        self.git(
            *("commit", "--quiet", "--no-verify", "--no-gpg-sign", "--no-status"),
            *("--allow-empty", "--cleanup=verbatim", "--file=-"),
            text=f"{_plain(message)}\n\n{TRAILER}{step}\n",
            author=_name(author),
        )
        made = self.head()
        if made is None:
            raise WorkspaceError(f"the commit is not on {self.branch}")
        return made

    def snapshot(self, blobs: Blobs) -> str:
        """Store the branch since its origin as a git bundle; return the digest."""
        bundle = self.folder / "snapshot.bundle"
        known = (f"^{BASE}",) if (self.git_dir / BASE).exists() else ()
        try:
            self.git(
                "bundle", "create", "--quiet", str(bundle), f"refs/heads/{self.branch}", *known
            )
            return blobs.put(bundle)
        finally:
            bundle.unlink(missing_ok=True)

    def _stage(self) -> None:
        try:
            self._add()
        except (WorkspaceError, PermissionError):
            trees.loosen(self.tree)
            self._add()

    def _add(self) -> None:
        trees.forget_nested(self.tree)
        self.git("add", "--all")

    def _step_of(self, commit: str) -> str:
        last = self.git("log", "-1", "--format=%B", commit).strip().rpartition("\n")[2]
        return last.removeprefix(TRAILER) if last.startswith(TRAILER) else ""


def _plain(message: str) -> str:
    """No NUL, which git refuses, an end, and a subject in any case."""
    return message.replace("\0", "").strip()[:MESSAGE_CHARS] or "step"


def _name(author: str) -> str:
    return re.sub(r"[^\w .@-]", "", author).strip(" .") or "agent"
