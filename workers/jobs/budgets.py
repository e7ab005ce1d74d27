"""Performing what budgets that are reached ask for."""

from __future__ import annotations

from tasks import budgets
from workers.broker import performs


@performs(budgets.pass_on)
def pass_on(run_id: str) -> None:
    """Tell whoever waits for a paused executor, if it still does."""
    budgets.tell_planner(run_id)
