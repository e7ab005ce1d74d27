"""A run's files while a step works on them."""

from __future__ import annotations

import os
import re
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

from models.blobs import Blobs
from workers.workspaces import staging
from workers.workspaces.git import Git, WorkspaceError
from workers.workspaces.objects import read_commit, replace, write_bundle, write_commit

if TYPE_CHECKING:
    from workers.workspaces.origins import Origin

TRAILER = "Djinn-Step: "
STEP = re.compile(r"[A-Za-z0-9_.:-]{1,128}", re.ASCII)
MESSAGE_CHARS = 64_000
LOG_CHARS = 200
BASE = "refs/djinn/base"
WORK = "refs/djinn/work"  # where others see the branch that the work is for, if they do
WHOLE = "refs/djinn/whole"  # the same of the branch that it will be merged into
ACTS = "refs/djinn/acts"
COMMIT = re.compile(r"[0-9a-f]{40,64}", re.ASCII)
EMPTY_TREE = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"  # git's name for a tree without files
FIRST_ACT = 946_684_800  # in seconds: when acts happen that no commit went before


@dataclass(frozen=True)
class Saved:
    """Where a run's files stand: its last commit and the blob that holds it."""

    commit: str
    snapshot: str


@dataclass(frozen=True)
class Savepoint:
    """Where the files stood amid a step: a commit beside the branch, and the blob that leads to it.

    The blob holds only what the savepoint before (for the first one: the branch) has not.
    """

    commit: str
    snapshot: str


@dataclass(frozen=True)
class Conflict:
    """A start that was left out: its name, its commit and the files it did not agree on."""

    name: str
    commit: str
    files: tuple[str, ...]


class Workspace:
    """The open files of one run on this machine; a context manager that lets go of the lock."""

    def __init__(self, folder: Path, run_id: str, lock: int) -> None:
        self.folder = folder
        self.tree = folder / "tree"
        self.git_dir = folder / "repo.git"
        self.run_id = run_id
        self.branch = f"run/{run_id}"
        self.git = Git(self.git_dir, self.tree, lock)
        self.alone = Git(self.git_dir, self.tree, lock, childless=True)
        self.conflicts: tuple[Conflict, ...] = ()
        self.origin: Origin | None = None  # what its commits build upon
        self.rebuild: Callable[[Workspace], None] | None = None  # makes a damaged folder anew
        self._recorded = ("", "", 0)  # a commit, its tree and its time in seconds
        # A workspace nobody closed lets go of its lock when it is forgotten.
        self.close = weakref.finalize(self, os.close, lock)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def head(self) -> str | None:
        """The last commit, or None when there is none."""
        return self.named_by(f"refs/heads/{self.branch}")

    def named_by(self, reference: str) -> str | None:
        """The commit that a reference of ours names, if there is one."""
        path = self.git_dir / reference
        return path.read_text().strip() if path.exists() else None

    @property
    def whole(self) -> str | None:
        """Where the branch stood, when this was begun, that the work will be merged into."""
        return self.named_by(WHOLE)

    def log(self, n: int = 10) -> list[str]:
        """The last `n` commits as `<short hash> <subject>`, newest first."""
        if self.head() is None:
            return []
        lines = self.git("log", f"-{n}", "--format=%h %s").splitlines()
        return [line[:LOG_CHARS] for line in lines]

    def changed(self) -> bool:
        """Whether the tree differs from the last commit."""
        return bool(self.alone("status", "--porcelain", "--ignore-submodules=all"))

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
        staging.stage(self.alone)
        self.git(
            *("commit", "--quiet", "--no-verify", "--no-gpg-sign", "--no-status"),
            *("--allow-empty", "--cleanup=verbatim", "--file=-"),
            text=f"{_plain(message)}\n\n{TRAILER}{step}\n",
            author=_name(author),
        )
        made = self.head()
        if made is None:
            raise self.git.error(f"the commit is not on {self.branch}")
        return made

    def snapshot(self, blobs: Blobs) -> str:
        """Store the branch since its origin as a git bundle; return the digest."""
        whole = self.packed(None, blobs)
        if whole is None:
            raise self.git.error(f"{self.branch} has no commit")
        return whole.snapshot

    def packed(self, last: Savepoint | None, blobs: Blobs) -> Saved | None:
        """The files as `last` has them (None: as the branch has), whole, for others to begin with.

        None where there is no commit yet.
        """
        commit = _full(last.commit) if last else self.head()
        if commit is None:
            return None
        reference = f"refs/heads/{self.branch}"
        return Saved(commit, self._bundle(reference, commit, self.named_by(BASE), blobs))

    def savepoint(self, blobs: Blobs, previous: Savepoint | None) -> Savepoint | None:
        """Record all files beside the branch; None when they are what `previous` has.

        Without a `previous` the branch is what they are compared with. Leaves out what `commit`
        leaves out, and the next `commit` is still one commit on top of the branch. Programs of the
        agent may be running, and its nested repositories stay what they are.
        """
        base = _full(previous.commit) if previous else self.head()
        staging.stage_amid(self.alone, self.folder / "aside")
        tree = self.alone("write-tree").strip()
        before, when = self._read(base)
        if tree == before:
            return None
        # As old as the one before: the same files after it are the same commit, made again or not.
        commit = write_commit(self.git_dir, [base] if base else [], tree, "act", when)
        self.point(ACTS, commit)
        self._recorded = (commit, tree, when)
        return Savepoint(commit, self._bundle(ACTS, commit, base, blobs))

    def restore(self, savepoints: Sequence[Savepoint], blobs: Blobs) -> None:
        """Put the files to the last of `savepoints` (all of a step's, in order); the branch stays.

        Savepoints this machine lacks come from their blobs. Files .gitignore names stay as they
        are. Raises WorkspaceError when they cannot be had, NotFound when a blob is gone.
        """
        if not savepoints:
            return
        last = _full(savepoints[-1].commit)
        try:
            self._put_back(last)
        except WorkspaceError:
            self._catch_up(savepoints, blobs)

    def unbundle(self, snapshot: str, blobs: Blobs) -> None:
        """Add the commits of a stored bundle, whatever branch it was made of; no branch moves."""
        bundle = self.folder / "snapshot.bundle"
        try:
            blobs.save(snapshot, bundle)
            self.git("bundle", "unbundle", str(bundle))
        finally:
            bundle.unlink(missing_ok=True)

    def known(self, commits: Sequence[str]) -> set[str]:
        """Those of `commits` that are here."""
        asked = "\n".join(map(_full, commits))
        lines = self.git("cat-file", "--batch-check=%(objectname) %(objecttype)", text=asked)
        words = [line.split() for line in lines.splitlines()]
        return {name for name, kind in words if kind == "commit"}

    def point(self, reference: str, commit: str) -> None:
        """Make `reference` (one of ours) name the commit; never half."""
        path = self.git_dir / reference
        path.parent.mkdir(parents=True, exist_ok=True)
        replace(path, f"{commit}\n".encode())

    def forget_locks(self) -> None:
        """Delete the locks of a git that was killed: while we have the folder, none is alive."""
        for left in ("index.lock", "HEAD.lock", f"refs/heads/{self.branch}.lock"):
            (self.git_dir / left).unlink(missing_ok=True)

    def _bundle(self, reference: str, commit: str, base: str | None, blobs: Blobs) -> str:
        """The digest of the stored bundle of `commit` without what `base` reaches."""
        bundle = self.folder / "snapshot.bundle"
        try:
            write_bundle(self.git, bundle, reference, commit, base)
            return blobs.put(bundle)
        finally:
            bundle.unlink(missing_ok=True)

    def _read(self, commit: str | None) -> tuple[str, int]:
        """The tree of a commit and its time; of none, the empty one and that of first acts."""
        if commit is None:
            return EMPTY_TREE, FIRST_ACT
        if commit != self._recorded[0]:
            self._recorded = (commit, *(read_commit(self.git_dir, commit) or self._told(commit)))
        return self._recorded[1:]

    def _told(self, commit: str) -> tuple[str, int]:
        tree, when = self.git("log", "-1", "--format=%T %ct", commit).split()
        return tree, int(when)

    def _put_back(self, commit: str) -> None:
        self.forget_locks()
        self.alone("read-tree", "--reset", "-u", commit)
        self.alone("clean", "-ffd", "--quiet")
        self.point(ACTS, commit)

    def _catch_up(self, savepoints: Sequence[Savepoint], blobs: Blobs) -> None:
        """Put the files to savepoints of another machine, or of a folder that a crash damaged."""
        try:
            self._learn(savepoints, blobs)
        except WorkspaceError:
            if self.rebuild is None:
                raise
            self.rebuild(self)
            self._learn(savepoints, blobs)

    def _learn(self, savepoints: Sequence[Savepoint], blobs: Blobs) -> None:
        """Have every savepoint here, each built upon the one before, and put the files to it."""
        here = self.known([savepoint.commit for savepoint in savepoints])
        for savepoint in savepoints:
            if savepoint.commit not in here:
                self.unbundle(savepoint.snapshot, blobs)
            self.point(ACTS, savepoint.commit)  # git builds only upon what a reference reaches
        self._put_back(savepoints[-1].commit)

    def _step_of(self, commit: str) -> str:
        last = self.git("log", "-1", "--format=%B", commit).strip().rpartition("\n")[2]
        return last.removeprefix(TRAILER) if last.startswith(TRAILER) else ""


def _full(commit: str) -> str:
    """`commit` if it is a commit's full name, so that git takes it for nothing else."""
    if not COMMIT.fullmatch(commit):
        raise WorkspaceError(f"{commit!r} is not a commit")
    return commit


def _plain(message: str) -> str:
    """No NUL, which git refuses, an end, and a subject in any case."""
    return message.replace("\0", "").strip()[:MESSAGE_CHARS] or "step"


def _name(author: str) -> str:
    return re.sub(r"[^\w .@-]", "", author).strip(" .") or "agent"
