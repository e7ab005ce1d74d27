"""Crowds: many who act at the same moment, and what each of them was promised."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from models import base, events, sessions
from models.budgets import Budget
from models.runs import Run
from models.sessions import Session
from models.steps import Step
from tasks import runs as commands
from workers.jobs import steps as step_jobs

T = TypeVar("T")
Claim = tuple[Run, Step]

BEGUN_ANEW = ("run_created", "human_intervention")  # how a person's beginning a run anew is told
PATIENCE = 60  # seconds in which any machine has a crowd together


def at_once(*acts: Callable[[], T]) -> list[T]:
    """What these acts give, which begin at the same moment, each on a connection of its own."""
    line = threading.Barrier(len(acts))

    def join_in(act: Callable[[], T]) -> T:
        with base.db.connection_context():
            line.wait(PATIENCE)
            return act()

    with ThreadPoolExecutor(len(acts)) as crowd:
        return list(crowd.map(join_in, acts))


def take(execution_id: str) -> Claim | None:
    """Claim a step: whoever gets it sits at it alone, as everybody before has let go of it."""
    with base.db.atomic():  # nobody comes in between
        claimed = step_jobs.claim(execution_id)
        at_it = (Session.execution_id == execution_id) & Session.state.in_(sessions.ACTIVE)
        assert claimed is None or Session.select().where(at_it).count() == 1
    return claimed


def look_who_may_write(claims: Sequence[Claim]) -> None:
    """Of all who ever took a step, one at most may still write to it; nobody acts meanwhile."""
    takers = Counter(step.id for _, step in claims)
    several = [step for _, step in claims if takers[step.id] > 1]
    holders = Counter(step.id for step in several if step.held_run() is not None)
    assert all(count == 1 for count in holders.values())


class Cancels:
    """How runs stood as their cancels were acknowledged, for whoever looks at them later."""

    def __init__(self) -> None:
        self.left: dict[tuple[str, int], Any] = {}  # by run and its last event

    def cancel(self, run_id: str) -> None:
        with base.db.atomic():
            run = commands.cancel(run_id)
            self.left.setdefault((run_id, run.event_seq), standing(run_id))

    def look(self) -> None:
        """Nothing has happened to these runs, unless first of all a person began them anew."""
        for (run_id, seq), left in list(self.left.items()):
            with base.db.atomic():
                gone = Run.locked(run_id) is None
                told = [event.type for event in events.after(run_id, seq, 1)]
                if not told and not gone:
                    assert standing(run_id) == left
            assert set(told) <= set(BEGUN_ANEW)
            if told or gone:
                self.left.pop((run_id, seq), None)


def standing(run_id: str) -> list[Any]:
    """All that a run has come to, and what it has spent or set aside of its budget."""
    its_own = (Run.id == run_id, Step.run == run_id, Session.run_id == run_id)
    rows = [
        list(model.select().where(mine).order_by(model.id).dicts())
        for model, mine in zip((Run, Step, Session), its_own, strict=True)
    ]
    budgets = Budget.select().where(Budget.run == run_id)
    usd = [row.spent_usd + row.reserved_usd for row in budgets]
    return [*rows, usd, [row.spent_tokens + row.reserved_tokens for row in budgets]]
