"""An agent at work on one step: model and tools in turns until the step is over.

No database and no Redis in here: what happens is yielded, what it means is the job's business.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from workers.agents import finishing
from workers.agents.answering import answer_in_shape
from workers.agents.asking import Asked, Question, ask
from workers.agents.compaction import compact, is_full
from workers.agents.events import (
    Called,
    Ending,
    Limits,
    Nudged,
    Replied,
    Returned,
    Talk,
    TurnStarted,
)
from workers.agents.tools.base import Verdict
from workers.halting import Halt
from workers.llm.base import Call, Message, Model, Overflow, Reply, Result, Text, ToolSpec

UNHEEDED = 3  # nudges in a row without a tool call, after which the model has stopped
COMPACTIONS_A_TURN = 3
NOTE_EVERY = 50  # tool calls

GO_ON = "Your answer was cut off at the output limit. Go on where it stopped, in smaller pieces."
FINISH = (
    "This is not over yet. Go on with the work; when it is done call `{done}` with all it asks, "
    "or call `{failed}` with the reason when it cannot be done."
)
NOTE = (
    "That were {calls} tool calls. Before you go on, write down in two or three sentences what is "
    "done, what is left, and whether the way you are going leads there."
)
CUT_OFF = (
    "This call was cut off at the output limit and did not run. Make it smaller: write long files "
    "in several steps."
)


class Tools(Protocol):
    """What the loop needs of a toolbox."""

    verdict: Verdict | None

    @property
    def specs(self) -> Sequence[ToolSpec]: ...

    def run(self, call: Call, halt: Halt) -> Result: ...

    def ends(self, name: str) -> bool: ...


def converse(
    model: Model, toolbox: Tools, messages: Sequence[Message], limits: Limits, halt: Halt
) -> Talk[Ending]:
    """Work until the agent ends the step or a limit does, telling what happens.

    Given the same answers and results it asks and does the same: a driver that knows them can have
    it repeated. Raises Throttled, Unavailable, Refused, an Overflow no shortening helps against,
    Awaited, and whatever `halt` raises.
    """
    if limits.shape:
        return (yield from answer_in_shape(model, limits.shape, messages, limits, halt))
    return (yield from _Conversation(model, toolbox, limits, halt, list(messages)).turns())


@dataclass
class _Conversation:
    model: Model
    toolbox: Tools
    limits: Limits
    halt: Halt
    messages: list[Message]
    calls: int = 0
    nudges: int = 0
    unheeded: int = field(default=0)

    def turns(self) -> Talk[Ending]:
        for turn in range(1, self.limits.max_turns + 1):
            self.halt.check()
            yield TurnStarted(turn)
            asked = yield from self._asked()
            yield Replied(turn, asked.answer, asked.known)
            ending = yield from self._after(asked.answer.reply, turn)
            if ending:
                return ending
            if is_full(self.model, asked.answer.context_used):
                yield from self._compacted()
        error = f"{finishing.UNFINISHED}: all {self.limits.max_turns} turns are used up"
        return Ending("failed", error=error)

    def _asked(self) -> Talk[Asked]:
        """The model's answer, the conversation shortened as often as it has to be."""
        for _ in range(COMPACTIONS_A_TURN):
            try:
                return (yield from self._ask())
            except Overflow:
                if not (yield from self._compacted()):
                    raise
        return (yield from self._ask())

    def _ask(self) -> Talk[Asked]:
        question = Question(self.messages, self.limits, self.toolbox.specs)
        return (yield from ask(self.model, question, self.halt))

    def _compacted(self) -> Talk[bool]:
        made = yield from compact(self.model, self.messages, self.halt)
        if made is None:
            return False
        self.messages = made.messages
        yield made.event
        return True

    def _after(self, reply: Reply, turn: int) -> Talk[Ending | None]:
        text = reply.message.text.strip()
        if text or reply.message.calls:  # providers refuse an empty message sent back
            self.messages.append(reply.message)
        if reply.message.calls:
            return (yield from self._worked(reply, turn))
        return (yield from self._talked(reply, text))

    def _worked(self, reply: Reply, turn: int) -> Talk[Ending | None]:
        """Run the calls in order; the first that ends the step ends it."""
        results = []
        for call in reply.message.calls:
            self.halt.check()
            results.append((yield from self._called(call, reply, turn)))
            if self.toolbox.verdict:
                return _ending(self.toolbox.verdict)
        self.messages.append(Message("tool", tuple(results)))
        self.unheeded = 0
        before, self.calls = self.calls, self.calls + len(results)
        if self.calls // NOTE_EVERY > before // NOTE_EVERY:
            yield self._nudged(NOTE.format(calls=self.calls))
        return None

    def _called(self, call: Call, reply: Reply, turn: int) -> Talk[Result]:
        """What the tool says; one that ends the step is asked again even if that is known."""
        known = yield Called(call, turn)
        began = time.monotonic()
        if isinstance(known, Result) and not self.toolbox.ends(call.name):
            return known
        result = self._run(call, reply)
        if known is None:
            yield Returned(call, result, time.monotonic() - began)
        return result

    def _run(self, call: Call, reply: Reply) -> Result:
        last = call is reply.message.calls[-1]
        if last and reply.stop == "length" and not _is_json(call.arguments):
            return Result(call.id, CUT_OFF, is_error=True)
        return self.toolbox.run(call, self.halt)

    def _talked(self, reply: Reply, text: str) -> Talk[Ending | None]:
        """The model said something and called nothing: it is done, or it is told to go on."""
        if self.limits.open_ended and (reply.stop != "length" or self.unheeded >= UNHEEDED):
            return Ending("text", summary=finishing.summary_of(text))
        outputs = finishing.read_text(text)
        missing = finishing.owed(outputs, self.limits.declared)
        if self.limits.declared and not missing:
            return Ending("text", outputs, finishing.summary_of(text))
        patience = UNHEEDED if self.calls or reply.stop == "length" else 1
        if self.unheeded >= patience or self.nudges >= self.limits.auto_continuations:
            return _stopped(text, outputs, missing)
        self.unheeded += 1
        self.nudges += 1
        yield self._nudged(GO_ON if reply.stop == "length" else self._finish())
        return None

    def _finish(self) -> str:
        """How this conversation is brought to an end, by the names its tools have."""
        endings = [spec.name for spec in self.toolbox.specs if self.toolbox.ends(spec.name)]
        done, failed = endings or ("complete", "fail")
        return FINISH.format(done=done, failed=failed)

    def _nudged(self, text: str) -> Nudged:
        self.messages.append(Message("user", (Text(text),)))
        return Nudged(text)


def _ending(verdict: Verdict) -> Ending:
    return Ending(verdict.kind, verdict.outputs, verdict.summary, verdict.error)


def _stopped(text: str, outputs: dict[str, str], missing: Sequence[str]) -> Ending:
    """What it means that the model just stopped: success only when nothing is owed."""
    if missing or not text:
        detail = f": missing required outputs: {', '.join(missing)}" if missing else ""
        return Ending("failed", error=finishing.UNFINISHED + detail)
    return Ending("text", outputs, finishing.summary_of(text))


def _is_json(arguments: str) -> bool:
    try:
        json.loads(arguments, strict=False)
    except (ValueError, RecursionError):
        return False
    return True
