"""Driving a conversation from its record alone: nobody is asked and nothing is done."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from models import ledger
from models.ledger import Entry
from models.runs import Run
from models.sessions import Session
from models.steps import Step
from workers.agents import differences, sealing
from workers.agents.differences import Differs
from workers.agents.events import (
    Answer,
    Asking,
    Called,
    Compacted,
    Ending,
    Event,
    Known,
    Replied,
    Talk,
)
from workers.agents.telling import Telling
from workers.agents.tools import Toolbox, Withheld
from workers.agents.tools.base import Bench
from workers.agents.tools.tree import Tree
from workers.halting import Halt
from workers.llm.base import Call, Delta, Message, Options, Reply, Result, ToolSpec
from workers.sandboxes.base import Hear, Output

NOWHERE = Path("/dev/null/nowhere")


class RanOut(Exception):
    """The record has no answer to what comes next."""


@dataclass
class Recorded:
    """A model as the record describes it; it never answers."""

    provider: str
    name: str
    window: int
    small: bool
    scripted: bool

    def reply(
        self,
        messages: Sequence[Message],
        tools: Sequence[ToolSpec],
        options: Options,
        halt: Halt,
    ) -> Generator[Delta, None, Reply]:
        """There is nobody: whatever is asked is answered from the record."""
        raise RuntimeError("a replay asked a model")


class Shut:
    """A sandbox that was never opened."""

    def run(
        self, argv: Sequence[str], timeout: float, halt: Halt, hear: Hear | None = None
    ) -> Output:
        """Nothing runs."""
        raise RuntimeError("a replay ran a command")


def toolbox_of(
    declared: tuple[str, ...], allowed: Sequence[str] | None, withheld: Withheld
) -> Toolbox:
    """The tools as the model sees them; only those that end a step, and touch nothing, ever run."""
    return Toolbox(Bench(Tree(NOWHERE), Shut(), declared), allowed, withheld)


class Playback:
    """Answers a conversation act by act from the entries of one execution, the opening apart.

    `thinks_alike` takes it that the model is to think as much as it did.
    """

    def __init__(self, step: Step, entries: Sequence[Entry], thinks_alike: bool) -> None:
        self.step = step
        self.entries = entries
        self.thinks_alike = thinks_alike
        self.place = 1
        self.said = ""
        self.telling = Telling(step)

    def follow(self, conversation: Talk[Ending]) -> Ending:
        """How the conversation ends.

        Raises Differs at the first act that is not the one on record, RanOut where the record ends.
        """
        known: Known = None
        try:
            while True:
                known = self._known(conversation.send(known))
        except StopIteration as over:
            ending: Ending = over.value
        if self.left:
            raise Differs(f"it ends here, the record goes on: {differences.act(self.left[0])}")
        return ending

    @property
    def left(self) -> Sequence[Entry]:
        """The sealed acts that were not come to."""
        return [entry for entry in self.entries[self.place :] if entry.sealed]

    def write(self, run: Run) -> None:
        """Tell what happened in the transaction of a caller who holds run and lease."""
        Session(id=self.step.session_id).put(turn_count=self.telling.turns)
        self.telling.write(run)

    def _known(self, event: Event) -> Known:
        match event:
            case Asking():
                return self._answer(event)
            case Called():
                return self._result(event.call)
            case Replied():
                self.said = event.answer.reply.message.text or self.said
                self._turned(event.answer)
            case Compacted():
                if event.answer is not None:
                    self._turned(event.answer)
                self.telling.compacted(event)
        return None

    def _turned(self, answer: Answer) -> None:
        self.telling.turns += 1
        self.telling.turn_ended(answer.reply)

    def _answer(self, asking: Asking) -> Known:
        entry = self._next(ledger.MODEL, "asks the model")
        if self.thinks_alike:
            level = entry.request["thinking_level"]
            asking = replace(asking, options=replace(asking.options, thinking_level=level))
        if entry.key != sealing.question_key(asking):
            raise Differs(differences.questions(entry.request, sealing.question_row(asking)))
        return sealing.answer_of(entry.response)

    def _result(self, call: Call) -> Result:
        self.telling.call_began(call)
        entry = self._next(ledger.TOOL, f"calls {call.name}")
        if entry.key != sealing.call_key(call):
            raise Differs(differences.calls(entry, call))
        result = sealing.result_of(entry.response, call)
        self.telling.call_ended(call, result, entry.response["seconds"])
        return result

    def _next(self, kind: str, doing: str) -> Entry:
        """The act on record at this place, if it was done and is one of this kind."""
        if self.place >= len(self.entries) or not self.entries[self.place].sealed:
            raise RanOut(doing)
        entry = self.entries[self.place]
        if entry.kind != kind:
            raise Differs(f"it {doing} here, on record is: {differences.act(entry)}")
        self.place += 1
        return entry
