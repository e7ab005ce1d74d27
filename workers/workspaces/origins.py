"""The repository a project has: mirrored once per machine, a clone and branch for each run."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import httpcore2

from models import outbound
from models.addresses import refused
from models.config import settings
from workers.workspaces import locks, trees
from workers.workspaces.git import ASKED, Git, Outcome, Passing, WorkspaceError, may_name
from workers.workspaces.workspace import BASE, WHOLE, WORK, Workspace

SECONDS = 600.0
LOOK_SECONDS = 20.0
SLOWEST = ("http.lowSpeedLimit=1000", "http.lowSpeedTime=60")  # bytes a second, for so long
REMOTE = re.compile(r"https?://[^\s]+", re.ASCII)
ANSWERS = range(256)  # the exit codes that there are
# How git tells that a server answered, with a no. Any other trouble with one may pass.
CLOSED = re.compile(
    r"could not read (Username|Password)|Authentication failed|not found|denied|not valid"
    r"|error: (?!408|429)[34]\d\d\b",
    re.I,
)
MOST_BRANCHES = 500


@dataclass(frozen=True)
class Origin:
    """Where a project's code lives (a folder or a URL) and the branch that runs start from.

    Without a branch it is the one that the repository itself names. `password` opens it. `work` is
    the branch that the run's work is for; once others can see it, it is gone on with there. `whole`
    is the branch that `work` will be merged into: what is there (at the commit `whole_at`, if that
    is said) is begun with as well.
    """

    repository: Path | str
    branch: str | None = None
    password: str | None = field(default=None, repr=False)
    work: str | None = None
    whole: str | None = None
    whole_at: str | None = None


@dataclass(frozen=True)
class Seen:
    """What a look at a repository found; of an empty one neither branch nor commit."""

    branch: str | None = None
    commit: str | None = None
    branches: tuple[Mapping[str, str], ...] = ()


def clone(workspace: Workspace, origin: Origin) -> None:
    """Fill the workspace's git directory from the origin, its branch starting at the origin's.

    A clone of its own, hard-linked to the mirror, and not a linked worktree: the sandbox can
    show it whole and read-only, and no run can hurt another's.
    """
    with _mirror(workspace.folder.parent.parent, workspace.tree, origin) as git:
        work, whole = _known(git, origin.work), _known(git, origin.whole)
        branch = origin.branch or own_branch(git, address_of(origin)) or work or whole
        if branch is not None:
            git("check-ref-format", "--branch", branch)
            _branch_off(workspace, git.git_dir, branch)
        if work is not None:
            _take_up(workspace, git.git_dir, work, WORK)
        if whole is not None and whole != work:
            _take_up(workspace, git.git_dir, whole, WHOLE, origin.whole_at)


def look(data: Path, origin: Origin) -> Seen:
    """Bring this machine's mirror up to date; tells what is there. Raises WorkspaceError."""
    folder = data / "repositories"
    folder.mkdir(parents=True, exist_ok=True)
    with _mirror(data, folder, origin) as git:
        head = origin.branch or own_branch(git, address_of(origin))
        shape = "--format=%(refname:lstrip=2) %(objectname)"
        listed = git("for-each-ref", f"--count={MOST_BRANCHES}", shape, "refs/heads")
    found = dict(line.rsplit(" ", 1) for line in listed.splitlines())
    branches = tuple({"name": name, "commit": commit} for name, commit in found.items())
    return Seen(head, found.get(head or ""), branches)


@contextmanager
def _mirror(data: Path, tree: Path, origin: Origin) -> Iterator[Git]:
    """This machine's mirror of the origin, up to date, while nobody else changes it."""
    address = address_of(origin)
    key = hashlib.sha256(address.encode()).hexdigest()
    mirror = data / "repositories" / f"{key}.git"
    lock = locks.acquire(mirror.with_suffix(".lock"), SECONDS)
    try:
        git = Git(mirror, tree, lock, password=origin.password)
        _refresh(git, address)
        yield git
    finally:
        os.close(lock)


def address_of(origin: Origin) -> str:
    """Where git finds the repository; WorkspaceError when there can be none."""
    repository = origin.repository
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
            git,
            address,
            *("clone", "--quiet", "--mirror", "--template=", "--", address, str(git.git_dir)),
        )
        (git.git_dir / "whole").touch()
        return
    fetched = ("fetch", "--quiet", "--prune", "--", address, "+refs/heads/*:refs/heads/*")
    _transport(git, address, *fetched)


def own_branch(git: Git, address: str) -> str | None:
    """The branch that the repository calls its own; None while that has no commit."""
    told = ("ls-remote", "--symref", "--", address, "HEAD")
    said = _transport(git, address, *told, seconds=LOOK_SECONDS)
    found = re.search(r"^ref: refs/heads/(\S+)\tHEAD$", said, re.MULTILINE)
    return found[1] if found else None


def _transport(git: Git, address: str, *arguments: str, seconds: float = SECONDS) -> str:
    done = spoken(git, address, *arguments, seconds=seconds)
    if not done.code:
        return done.said
    if REMOTE.fullmatch(address) and not CLOSED.search(done.complaint):
        raise Passing(done.flaw)
    raise git.error(done.flaw)


def spoken(git: Git, address: str, *arguments: str, seconds: float = SECONDS) -> Outcome:
    """How git's talk with an address ended, by nothing but the protocol that belongs to it."""
    remote = REMOTE.fullmatch(address)
    protocol = address.partition(":")[0] if remote else "file"
    options = [f"protocol.{protocol}.allow=always"]
    if remote:
        options += ["http.followRedirects=false", *SLOWEST, *_judged(address)]
    if git.password is not None:
        options.append(f"credential.helper={ASKED}")
    flags = [word for option in options for word in ("-c", option)]
    return git.outcome(*flags, *arguments, fine=ANSWERS, seconds=seconds)


def _judged(address: str) -> list[str]:
    """Settings that lead git to the very addresses that were judged; WorkspaceError for others."""
    parts = urlsplit(address)
    host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    try:
        places = outbound.resolved(host, port)
    except httpcore2.ConnectError as error:
        raise Passing(f"{host} does not resolve") from error
    if any(refused(place, settings().private_networks) for place in places):
        raise WorkspaceError(f"{host} leads into a network that may not be asked from here")
    known = ",".join(f"[{place}]" if ":" in place else place for place in places)
    return [f"http.curloptResolve={host}:{port}:{known}"]


def _branch_off(workspace: Workspace, mirror: Path, branch: str) -> None:
    _transport(
        workspace.git,
        str(mirror),
        *("clone", "--quiet", "--bare", "--no-tags", "--single-branch", f"--branch={branch}"),
        *("--template=", "--", str(mirror), str(workspace.git_dir)),
    )
    start = workspace.git("rev-parse", f"refs/heads/{branch}^{{commit}}").strip()
    workspace.point(BASE, start)
    workspace.point(f"refs/heads/{workspace.branch}", start)


def _known(mirror: Git, work: str | None) -> str | None:
    """The branch, if the repository has it; WorkspaceError for what can be no branch's name."""
    if work is None:
        return None
    if work.startswith("-") or not may_name(mirror, f"refs/heads/{work}"):
        raise WorkspaceError(f"{work!r} cannot be the name of a branch")
    shown = ("show-ref", "--verify", "--quiet", f"refs/heads/{work}")
    return None if mirror.outcome(*shown, fine=(0, 1)).code else work


def _take_up(
    workspace: Workspace, mirror: Path, branch: str, name: str, at: str | None = None
) -> None:
    """Have the last commit of a branch (or the one `at`) at hand under a name of ours."""
    refspec = f"+refs/heads/{branch}:{name}"
    fetch = ("fetch", "--quiet", "--no-tags", "--", str(mirror), refspec)
    _transport(workspace.git, str(mirror), *fetch)
    if at is not None:
        workspace.point(name, at)
