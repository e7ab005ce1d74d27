"""What the end of a run brings about elsewhere, in the same transaction."""

from __future__ import annotations

from models.runs import Run
from tasks import firings, outcomes, pushes, swarms


def run_ended(run: Run) -> None:
    """A run is over or about to be deleted: swarms and planners go on, its task and files move."""
    swarms.run_ended(run)
    outcomes.run_ended(run)
    pushes.run_ended(run)
    firings.run_ended(run)
