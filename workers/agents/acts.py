"""What a step's tools do to the world, and how the files stand after each of them."""

from __future__ import annotations

from dataclasses import dataclass

from models.blobs import Blobs
from workers.agents.tools import Toolbox
from workers.agents.tools.base import Effect
from workers.workspaces import Savepoint, Workspace


@dataclass
class Acts:
    """The tools and files of one sitting; without tools nothing is ever changed.

    `last` is how the files stood after the latest act that changed them, None at the beginning.
    """

    toolbox: Toolbox | None = None
    workspace: Workspace | None = None
    blobs: Blobs | None = None
    last: Savepoint | None = None

    def effect(self, name: str) -> Effect:
        """What calling the tool may change."""
        return self.toolbox.effect(name) if self.toolbox else "none"

    def saved(self, name: str) -> Savepoint | None:
        """How the files stand after calling the tool, if that may have changed them and did."""
        if self.workspace is None or self.blobs is None or self.effect(name) == "none":
            return None
        made = self.workspace.savepoint(self.blobs, self.last)
        self.last = made or self.last
        return made
