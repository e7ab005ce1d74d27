"""The files of a run: a git repository of its own, one commit per step, a snapshot of each.

`<root>/<run id>/tree` is what the agent sees and may write; `<root>/<run id>/repo.git` stays the
host's (a sandbox shows it read-only as `.git`), so nothing an agent writes can run code out here.
"""

from workers.workspaces.git import Passing, WorkspaceError
from workers.workspaces.locks import Busy
from workers.workspaces.merging import Merged, Report, merge
from workers.workspaces.opening import open_workspace, remove
from workers.workspaces.origins import Origin
from workers.workspaces.starts import Start
from workers.workspaces.workspace import Conflict, Saved, Savepoint, Workspace

__all__ = [
    "Busy",
    "Conflict",
    "Merged",
    "Origin",
    "Passing",
    "Report",
    "Saved",
    "Savepoint",
    "Start",
    "Workspace",
    "WorkspaceError",
    "merge",
    "open_workspace",
    "remove",
]
