"""Bringing the commits of a run to the repository they began with: never by force, never twice."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from models.blobs import Blobs
from workers.workspaces import folders, origins, starts
from workers.workspaces.git import Git, Outcome, Passing, WorkspaceError
from workers.workspaces.opening import begin
from workers.workspaces.origins import Origin
from workers.workspaces.workspace import WORK, Saved, Workspace

REFUSAL = re.compile(r"^!\t[^\t]*\t\[(?P<by>remote rejected|rejected)\] \((?P<why>.*)\)$", re.M)
OVERTAKEN = re.compile(r"lock|failed to update ref|fetch first|non-fast-forward|stale", re.I)


class Refused(WorkspaceError):
    """The repository does not take it; a person has to look why."""


def push(root: Path, name: str, saved: Saved, origin: Origin, blobs: Blobs) -> bool:
    """Have the branch `origin.work` of the repository reach a saved commit; False if it does.

    Works in a folder of its own called `name`, gone afterwards. Doing it again changes nothing.
    Raises Refused, or WorkspaceError when trying again may help, NotFound without the snapshot.
    """
    folder, lock = folders.claim(root, f"{folders.named(name)}~push")
    with Workspace(folder, name, lock) as workspace:
        try:
            begin(workspace, origin)
            starts.gather(workspace, saved, (), blobs)
            return _pushed(replace(workspace.git, password=origin.password), workspace, origin)
        finally:
            folders.discard(folder)


def _pushed(git: Git, workspace: Workspace, origin: Origin) -> bool:
    commit, there = str(workspace.head()), workspace.named_by(WORK)
    address, branch = origins.address_of(origin), str(origin.work)
    if there and _reaches(git, there, commit):
        return False
    if branch in {origin.branch, origins.own_branch(git, address)}:
        raise Refused(f"{branch} is the project's own branch; work goes there by pull request only")
    if there and not _reaches(git, commit, there):
        raise Refused(f"{branch} has commits that this work does not have")
    refspec = f"{commit}:refs/heads/{branch}"
    done = origins.spoken(git, address, "push", "--porcelain", "--no-verify", address, refspec)
    if done.code:
        raise _explained(done)
    return True


def _reaches(git: Git, commit: str, other: str) -> bool:
    asked = ("merge-base", "--is-ancestor", other, commit)
    return git.outcome(*asked, fine=(0, 1)).code == 0


def _explained(done: Outcome) -> WorkspaceError:
    """What kept git from pushing; somebody who pushed in between is found at the next try."""
    told = REFUSAL.search(done.said)
    if told is not None:
        kind = Passing if OVERTAKEN.search(told["why"]) else Refused
        return kind(f"The repository does not take it: {told['why']}")
    return (Refused if origins.CLOSED.search(done.complaint) else Passing)(done.flaw)
