"""In whose name an agent changes rows, and how each of its acts is done once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from models.base import db
from models.insisting import insist
from models.runs import Run
from models.steps import Step
from workers.halting import LOST, Stopped

T = TypeVar("T")


@dataclass
class Mandate:
    """What an agent at a step may answer for; `act` names the act under way.

    The name is the same however often the act is tried, by whichever worker: a command that keeps
    it with the row it makes finds that row again.
    """

    step: Step
    act: str = ""

    def do(self, command: Callable[[Run], T]) -> T:
        """What the command gives, called in one transaction that holds the run and the lease.

        Raises Stopped when the step is no longer ours: nothing happens after that.
        """
        return insist(lambda: self._done(command))

    def _done(self, command: Callable[[Run], T]) -> T:
        with db.atomic():
            run = self.step.held_run()
            if run is None:
                raise Stopped(LOST)
            return command(run)
