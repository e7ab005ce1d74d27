"""Making one branch of the branches that several runs left."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from models.blobs import Blobs
from workers.workspaces import folders, starts
from workers.workspaces.opening import begin
from workers.workspaces.origins import Origin
from workers.workspaces.starts import Start
from workers.workspaces.workspace import Saved, Workspace


@dataclass(frozen=True)
class Report:
    """What became of one branch: merged, or left out for these files."""

    name: str
    merged: bool
    files: tuple[str, ...] = ()


@dataclass(frozen=True)
class Merged:
    """The one commit of all that could be merged (`base` of none), and a report per branch."""

    saved: Saved | None
    reports: tuple[Report, ...]


def merge(
    root: Path,
    key: str,
    base: Saved | None,
    branches: Sequence[Start],
    blobs: Blobs,
    origin: Origin | None = None,
) -> Merged:
    """Merge the branches in order into `base` (or the first of them); those that conflict stay out.

    Works in a folder of its own, gone afterwards; the same call makes the same commit again.
    `origin` is what all of them began with: their snapshots hold only what came after.
    Raises WorkspaceError for a name no reference can have, NotFound when a snapshot is gone.
    """
    if not branches:
        return Merged(base, ())
    folder, lock = folders.claim(root, f"{folders.named(key)}~merge")
    with Workspace(folder, key, lock) as workspace:
        try:
            begin(workspace, origin)
            starts.gather(workspace, base or branches[0].saved, branches, blobs)
            saved = Saved(workspace.head() or "", workspace.snapshot(blobs))
        finally:
            folders.discard(folder)
    conflicts = {conflict.name: conflict.files for conflict in workspace.conflicts}
    return Merged(saved, tuple(_report(branch.name, conflicts) for branch in branches))


def _report(name: str, conflicts: dict[str, tuple[str, ...]]) -> Report:
    return Report(name, name not in conflicts, conflicts.get(name, ()))
