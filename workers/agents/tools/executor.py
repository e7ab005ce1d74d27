"""The two ways an executor ends its order."""

from __future__ import annotations

from typing import Any

from workers.agents.tools.base import Bench, Tool, Verdict, described, text
from workers.halting import Halt


def complete(bench: Bench, arguments: dict[str, Any], halt: Halt) -> Verdict:
    """The executor's report; what it leaves blank the platform fills in from git."""
    outputs = {key: value.strip() for key, value in arguments.items()}
    return Verdict("completed", outputs=outputs, summary=outputs["summary"])


def fail(bench: Bench, arguments: dict[str, Any], halt: Halt) -> Verdict:
    """The order's failure in the executor's own words."""
    outputs = {key: value.strip() for key, value in arguments.items()}
    return Verdict("failed", outputs=outputs, error=outputs["error"])


COMMITS = text("Commits you made yourself, separated by commas", default="")
DEVIATIONS = text("Where you left the order, and why", default="")
BLOCKED_BY = text("What kept you from the rest, if anything did", default="")

TOOLS = (
    Tool(
        described(
            "executor_complete",
            "Report that the order is carried out. Call it once, when all is done and checked.",
            status=text(
                "success, or partial when a part of the order is left", enum=["success", "partial"]
            ),
            summary=text("What was done and how it was checked, in a few sentences", minLength=1),
            files_changed=text("The files you changed, separated by commas", default=""),
            commit_hashes=COMMITS,
            deviations=DEVIATIONS,
            blocked_by=BLOCKED_BY,
        ),
        complete,
        lifecycle=True,
    ),
    Tool(
        described(
            "executor_fail",
            "Give the order up: it cannot be carried out. Say why, so that its giver can act.",
            error=text("The reason in one sentence", minLength=1),
            details=text("What you tried and what is needed", default=""),
            blocked_by=BLOCKED_BY,
            deviations=DEVIATIONS,
            commit_hashes=COMMITS,
        ),
        fail,
        lifecycle=True,
    ),
)
