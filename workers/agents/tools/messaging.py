"""What agents tell each other: a message for later, or one that wakes."""

from __future__ import annotations

from typing import Any

from models.inbox import LONGEST
from models.wakes import REASONS, Wake
from tasks import inbox, wakes
from workers.agents.tools.base import Tool, described, text
from workers.agents.tools.errands import Errand, writes

TO = text("The agent's id", minLength=1, maxLength=128)
MESSAGE = text(
    "All that they need to know: they see neither your work nor this conversation",
    minLength=1,
    maxLength=LONGEST,
)


def message_agent(errand: Errand, told: dict[str, Any]) -> str:
    """Leave a message."""
    inbox.send(errand.run, errand.agent_id, told["to"], told["message"])
    return f"The message waits for {told['to']}, who reads it when a session of theirs begins."


def wake_agent(errand: Errand, told: dict[str, Any]) -> str:
    """Leave a message and have a session begin with it, if that may be."""
    asked = Wake(
        id=Wake.id.default(),
        target=told["to"],
        source=errand.agent_id,
        reason=told["reason"],
        act=errand.mandate.act,
        execution_id=errand.mandate.step.id,
    )
    return wakes.wake(errand.run, asked, told["message"])


TOOLS = (
    Tool(
        described(
            "message_agent",
            "Leave a message for another agent. It is read when a session of theirs begins, which"
            " may take a while; nothing comes back.",
            to=TO,
            message=MESSAGE,
        ),
        writes(message_agent),
        effect="rows",
    ),
    Tool(
        described(
            "wake_agent",
            "Leave a message for another agent and have them begin a session with it at once. For"
            " what cannot wait: there are limits, and where they are reached the message waits in"
            " the inbox.",
            to=TO,
            message=MESSAGE,
            reason=text("Why it cannot wait", enum=list(REASONS)),
        ),
        writes(wake_agent),
        effect="rows",
    ),
)
