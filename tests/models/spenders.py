"""People whose runs have budgets, and what their calls do to them."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from models import base, budgets, spending
from models.budgets import Budget
from models.pipelines import Pipeline
from models.principals import Principal
from models.runs import Run
from models.spending import Amount
from tasks import runs as commands

ANNA = Principal("usr_anna", "user")
BEN = Principal("usr_ben", "user")


def new_run(owner: Principal = ANNA, limits: dict[str, Any] | None = None, **more: Any) -> Run:
    pipeline = Pipeline.get_by_id("planning")
    run = commands.start(owner, pipeline, {"task": "Build a todo app", **more})
    if limits:
        with held(run) as locked:
            budgets.limit(locked, limits)
    return Run.get_by_id(run.id)


class held:
    """The transaction of somebody who holds the run's lock."""

    def __init__(self, run: Run) -> None:
        self.run, self.transaction = run, base.db.atomic()

    def __enter__(self) -> Run:
        self.transaction.__enter__()
        locked = Run.locked(self.run.id)
        assert locked is not None
        return locked

    def __exit__(self, *error: Any) -> None:
        self.transaction.__exit__(*error)


def reserve(run: Run, execution: str, usd: str | None = "0", tokens: int = 0) -> Any:
    with held(run) as locked:
        return spending.reserve(
            locked, execution, Amount(None if usd is None else Decimal(usd), tokens)
        )


def settle(
    run: Run, execution: str, usd: str | None = "0", tokens: int = 0, guessed: bool = False
) -> None:
    with held(run) as locked:
        spent = Amount(None if usd is None else Decimal(usd), tokens, guessed=guessed)
        spending.settle(locked, execution, spent)


def budget(run: Run) -> Budget:
    found = budgets.of_run(Run.get_by_id(run.id))
    assert found is not None
    return found
