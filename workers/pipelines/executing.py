"""What is different about a step that an executor works on: where it begins, what it reports."""

from __future__ import annotations

from collections.abc import Mapping

from models.runs import EXECUTOR, Run
from workers.agents.events import Ending
from workers.workspaces import Saved, Start, Workspace

RAW = 5_000  # characters of an answer that stands for a report
FILES_LISTED = 200


def starts_of(run: Run) -> list[Start]:
    """The branches whose work the run's files begin with, those of what its task depends on."""
    return [
        Start(each["branch"], Saved(each["commit"], each["snapshot"]))
        for each in run.meta.get("starts", ())
    ]


def reported(run: Run, ending: Ending, outputs: dict[str, str]) -> dict[str, str]:
    """The outputs; of an executor that just stopped its last words take the report's place."""
    if run.kind != EXECUTOR or ending.kind != "text":
        return outputs
    return {"raw_output": ending.summary[:RAW]}


def with_facts(outputs: Mapping[str, str], workspace: Workspace, commit: str) -> dict[str, str]:
    """The report with what git knows where the executor said nothing."""
    listed = ("diff-tree", "--no-commit-id", "--name-only", "--root", "-r", "-z", commit)
    files = [name for name in workspace.git(*listed).split("\0") if name]
    more = len(files) - FILES_LISTED
    shown = ", ".join(files[:FILES_LISTED]) + (f" and {more} more" if more > 0 else "")
    facts = {"commit_hashes": commit, "files_changed": shown}
    said = {key: value for key, value in outputs.items() if value.strip()}
    return {**outputs, **facts, **said}
