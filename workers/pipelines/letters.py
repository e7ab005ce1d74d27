"""The messages that an agent reads as a session of it begins."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from models import events, inbox
from models.inbox import InboxMessage
from models.insisting import insist
from models.runs import Run
from models.steps import Step
from models.timetable import written


@dataclass(frozen=True)
class Letters:
    """Messages that nobody else gets to read; they count as read once the session has begun."""

    ids: tuple[str, ...] = ()
    texts: tuple[str, ...] = ()
    agent_id: str = ""
    execution_id: str = ""

    @classmethod
    def taken(cls, agent_id: str, run: Run, step: Step) -> Self:
        """Those that wait for the agent, with a line that says how many more there are."""
        found, left = insist(lambda: InboxMessage.take(agent_id, run, step.id))
        texts = [_told(each) for each in found]
        more = [f"({left} more will be shown in your next session.)"] if found and left else []
        return cls(tuple(each.id for each in found), (*texts, *more), agent_id, step.id)

    def read(self, run: Run) -> None:
        """Write that they are read, in the transaction that seals what the session opens with."""
        if self.ids:
            inbox.mark_read(self.ids, self.execution_id)
            told = {"agentId": self.agent_id, "runId": run.id, "count": len(self.ids)}
            events.announce(run.owner_id, ("agent_inbox_read", told), project_id=run.project_id)


def _told(letter: InboxMessage) -> str:
    return f"From {letter.from_agent}, {written(letter.created_at)}:\n{letter.message}"
