"""The files of a run: a git repository of its own, one commit per step, a snapshot of each.

`<root>/<run id>/tree` is what the agent sees and may write; `<root>/<run id>/repo.git` stays the
host's (a sandbox shows it read-only as `.git`), so nothing an agent writes can run code out here.
"""

from workers.workspaces.git import WorkspaceError
from workers.workspaces.locks import Busy
from workers.workspaces.opening import open_workspace, remove
from workers.workspaces.origins import Origin
from workers.workspaces.workspace import Saved, Workspace

__all__ = ["Busy", "Origin", "Saved", "Workspace", "WorkspaceError", "open_workspace", "remove"]
