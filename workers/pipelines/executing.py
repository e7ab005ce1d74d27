"""What is different about a step that an executor works on: where it begins, what it reports."""

from __future__ import annotations

from collections.abc import Mapping

from models.runs import Run
from workers.agents.events import Ending
from workers.workspaces import Saved, Start, Workspace

RAW = 5_000  # characters of an answer that stands for a report
FILES_LISTED = 200
FACTS = ("commit_hashes", "files_changed")


def starts_of(run: Run) -> list[Start]:
    """The branches whose work the run's files begin with, those of what its task depends on."""
    return [
        Start(each["branch"], Saved(each["commit"], each["snapshot"]))
        for each in run.meta.get("starts", ())
    ]


def reported(run: Run, ending: Ending, outputs: dict[str, str]) -> dict[str, str]:
    """The outputs; of an executor that just stopped its last words take the report's place."""
    if not run.ordered or ending.kind != "text":
        return outputs
    return {"raw_output": ending.summary[:RAW]}


def with_facts(outputs: Mapping[str, str], workspace: Workspace, commit: str) -> dict[str, str]:
    """The report with what git knows where the executor said nothing."""
    listed = ("diff-tree", "--no-commit-id", "--name-only", "--root", "-r", "-z", commit)
    files = [name for name in workspace.git(*listed).split("\0") if name]
    more = len(files) - FILES_LISTED
    shown = ", ".join(files[:FILES_LISTED]) + (f" and {more} more" if more > 0 else "")
    facts = dict(zip(FACTS, (commit, shown), strict=True))
    said = {key: value for key, value in outputs.items() if value.strip()}
    return {**outputs, **facts, **said}


def with_former_facts(outputs: Mapping[str, str], recorded: Mapping[str, str]) -> dict[str, str]:
    """The report with what git knew when it was first made, where the executor said nothing."""
    facts = {key: recorded[key] for key in FACTS if key in recorded}
    return {**outputs, **{key: fact for key, fact in facts.items() if not outputs.get(key)}}
