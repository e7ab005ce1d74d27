"""What happens in a session, as events of its run, held back until they are written."""

from __future__ import annotations

from typing import Any

from models.events import Happening
from models.runs import Run
from models.steps import Step
from workers.agents.events import Compacted
from workers.agents.tools.base import bounded
from workers.llm.base import Call, Reply, Result

RESULT_LIMIT = 10_000  # characters of a tool's answer in an event


class Telling:
    """The events of one session in order; `turns` counts the model's answers."""

    def __init__(self, step: Step) -> None:
        self.step = step
        self.turns = 0
        self.told: list[Happening] = []

    def write(self, run: Run) -> None:
        """Write what is held back; the caller holds the run's lock."""
        if self.told:
            run.record(*self.told, session_id=self.step.session_id)

    def tell(self, kind: str, **data: Any) -> None:
        """Hold an event of the step back."""
        about = {"stepId": self.step.step_id, "sessionId": self.step.session_id}
        self.told.append((kind, {**about, **data}))

    def turn_ended(self, reply: Reply, **more: Any) -> None:
        """The model has answered, for the `turns`-th time."""
        text = bounded(reply.message.text, RESULT_LIMIT)
        self.tell("turn_end", **{"turn": self.turns, "text": text, "stop": reply.stop, **more})

    def call_began(self, call: Call) -> None:
        """A tool is about to run."""
        self.tell("tool_call_start", **self.names(call), args=call.arguments)

    def call_ended(self, call: Call, result: Result, seconds: float) -> None:
        """A tool has answered."""
        shown = {"result": bounded(result.text, RESULT_LIMIT), "isError": result.is_error}
        self.tell("tool_call_end", **self.names(call), **shown, durationMs=round(seconds * 1000))

    def compacted(self, event: Compacted) -> None:
        """The conversation was shortened."""
        self.tell("context_compacted", before=event.before, after=event.after)

    def names(self, call: Call) -> dict[str, str]:
        """Providers number their calls per reply at times; ours are unique within the run.

        A call that is tried again, because its worker was lost or waited for others, is the same.
        """
        unique = f"{self.step.id}-{self.turns}-{call.id}"
        return {"toolName": call.name, "toolCallId": unique}
