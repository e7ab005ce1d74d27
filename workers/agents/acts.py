"""What a step's tools do to the world, and how the files stand after each of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from models.blobs import Blobs
from workers.agents import delegating
from workers.agents.tools import Toolbox
from workers.agents.tools.base import Effect
from workers.llm.base import Call, Result
from workers.workspaces import Report, Saved, Savepoint, Start, Workspace, merge

UNKNOWN = (
    "The worker was lost while this ran: its outcome is unknown. The files of the workspace are as "
    "they were before it; what it may have done elsewhere still holds. Find out before you repeat "
    "it."
)

UNTOUCHED = ("none", "rows")  # effects that leave the files as they are


@dataclass
class Acts:
    """The tools and files of one sitting; without tools nothing is ever changed.

    `last` is how the files stood after the latest act that changed them, None at the beginning.
    """

    toolbox: Toolbox | None = None
    workspace: Workspace | None = None
    blobs: Blobs | None = None
    last: Savepoint | None = None
    _adopted: Savepoint | None = None

    def effect(self, name: str) -> Effect:
        """What calling the tool may change."""
        return self.toolbox.effect(name) if self.toolbox else "none"

    def begins(self, asked_by: str) -> None:
        """Name the act that is about to be done, the same at each try."""
        if self.toolbox is not None:
            self.toolbox.begins(asked_by)

    def watched(self, call: Mapping[str, Any]) -> None:
        """Name the call that is about to run for whoever watches."""
        if self.toolbox is not None:
            self.toolbox.watched(call)

    def came_of(self, call: Call, asked_by: str, launched: str | None) -> Result | None:
        """What an act came to that a worker has let go of; None when it is to be done.

        `asked_by` is its name with those it delegated to, `launched` their id.
        """
        effect = self.effect(call.name)
        if effect == "world":
            return Result(call.id, UNKNOWN, is_error=True)
        outcome = delegating.outcome(asked_by, launched) if effect == "delegation" else None
        if outcome is None:
            return None
        return Result(call.id, f"{outcome.text}\n{self.adopt(outcome.branches)}".rstrip())

    def saved(self, name: str) -> Savepoint | None:
        """How the files stand after calling the tool, if that may have changed them and did."""
        if self.workspace is None or self.blobs is None or self.effect(name) in UNTOUCHED:
            return None
        made = self.workspace.savepoint(self.blobs, self.last) or self._adopted
        self._adopted = None
        self.last = made or self.last
        return made

    def packed(self) -> Saved | None:
        """All files as they stand, for others to begin with; None where there are none."""
        if self.workspace is None or self.blobs is None:
            return None
        return self.workspace.packed(self.last, self.blobs)

    def adopt(self, branches: Sequence[Start]) -> str:
        """Bring what others did into the files; gives what to say about it."""
        if self.workspace is None or self.blobs is None or not branches:
            return ""
        root, key = self.workspace.folder.parent, self.workspace.run_id
        origin = self.workspace.origin
        merged = merge(root, key, self.packed(), branches, self.blobs, origin)
        if merged.saved:
            self.last = self._adopted = Savepoint(merged.saved.commit, merged.saved.snapshot)
            self.workspace.restore([self.last], self.blobs)
        return "\n".join(map(_told, merged.reports))


def _told(report: Report) -> str:
    if report.merged:
        return f"Your workspace has the files of {report.name} now."
    return f"The files of {report.name} were left out, they conflict: {', '.join(report.files)}"
