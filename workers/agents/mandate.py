"""In whose name an agent changes rows, and how each of its acts is done once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeVar

from models import accounts, ledger
from models.base import db
from models.chats import ChatSession
from models.insisting import insist
from models.principals import Principal
from models.runs import CHAT, Run
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

    def once(self, command: Callable[[Run], str]) -> str:
        """The same for a command that keeps no name: what it says commits with what it changes.

        Tried again, because a worker or an answer was lost, it says the same and changes nothing.
        """
        return self.do(lambda run: self._once(run, command))

    def agent(self, run: Run) -> Principal:
        """The agent as a caller, who sees no more than the run's owner does.

        A chat is about its session's project: its run belongs to none, whose people would see it.
        """
        caller = run.caller(self.step.agent_id)
        chat = ChatSession.find(run.id) if run.kind == CHAT else None
        return replace(caller, project_id=chat.project_id) if chat else caller

    def owner(self, run: Run) -> Principal:
        """Whose all is that the agent makes, and who pays for it; NotFound when they are gone."""
        return accounts.caller(run.owner_id)

    def _done(self, command: Callable[[Run], T]) -> T:
        with db.atomic():
            run = self.step.held_run()
            if run is None:
                raise Stopped(LOST)
            return command(run)

    def _once(self, run: Run, command: Callable[[Run], str]) -> str:
        seq = int(self.act.rpartition(":")[2])
        word = ledger.word_of(self.step.id, seq)
        if word is None:
            word = command(run)
            ledger.come_to(self.step.id, seq, word)
        return word
