"""Leaving messages for agents."""

from __future__ import annotations

from models import activities
from models.agents import Agent
from models.errors import Conflict
from models.inbox import LONGEST, SYSTEM, InboxMessage
from models.runs import Run

SUBJECT = 100  # characters that timelines show


def send(run: Run, sender: str, to: str, message: str) -> InboxMessage:
    """Leave a message for an agent, in the current transaction; sessions of the same side read it.

    NotFound without the agent; Conflict for oneself, and when too much is unread there.
    """
    if to == sender:
        raise Conflict("That is you: there is no need to send yourself a message")
    if not Agent.select().where(Agent.id == to).exists():
        raise Agent.missing(to)
    letter = InboxMessage(
        id=InboxMessage.id.default(),
        to_agent=to,
        from_agent=sender,
        message=message[:LONGEST],
        owner_id=run.owner_id,
        project_id=run.project_id,
        run_id=run.id,
    )
    letter.deliver()
    subject = message.strip().partition("\n")[0][:SUBJECT]
    received = ("inbox_received", {"fromAgent": sender, "subject": subject})
    activities.note(to, run.owner_id, run.id, received)
    if sender != SYSTEM:
        sent = ("message_sent", {"toAgent": to, "subject": subject})
        activities.note(sender, run.owner_id, run.id, sent)
    return letter
