"""Driving a conversation and writing it down: the ledger, durable events, call rows, live text.

Every act is claimed before it is done and sealed after, what comes in between goes along in one
of the two transactions. Each holds the run's lock and asks whether the lease is still ours, so a
worker that was taken over can neither write anything nor begin anything.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from models import events, ledger
from models.base import db
from models.ledger import Entry
from models.llm_calls import LlmCall
from models.logs import log
from models.runs import Run
from models.sessions import Session
from models.steps import Step
from workers.agents import sealing
from workers.agents.acts import Acts
from workers.agents.events import (
    Answer,
    Asking,
    Called,
    Compacted,
    Ending,
    Event,
    Known,
    Overflowed,
    Replied,
    Returned,
    Spoke,
    Talk,
)
from workers.agents.journal import Journal
from workers.agents.tools.base import Awaited, bounded
from workers.agents.voice import Voice
from workers.halting import DeadlinePassed, Stopped
from workers.leases import LOST
from workers.llm.base import Message, Model, Result, Thinking, Usage
from workers.llm.prices import price

OURS = ("local", "scripted")  # models that need no key
RESULT_LIMIT = 10_000  # characters of a tool's answer in an event
UNKNOWN = (
    "The worker was lost while this ran: its outcome is unknown. The files of the workspace are as "
    "they were before it; what it may have done elsewhere still holds. Find out before you repeat "
    "it."
)


class Transcript:
    """The record of one session; it drives the conversation that it writes down."""

    def __init__(self, run: Run, step: Step, model: Model, journal: Journal, voice: Voice) -> None:
        self.run = run
        self.step = step
        self.model = model
        self.journal = journal
        self.voice = voice
        self.acts = Acts()
        self.turns = 0
        self.said = ""  # the last thing the model said in words
        self._act: Entry | None = None  # the one under way
        self._writes: list[Callable[[], object]] = []
        self._told: list[events.Happening] = []

    def open(self, messages: Sequence[Message], facts: dict[str, Any]) -> None:
        """Seal, with the first act, what the conversation opens with and what that rests on."""
        entry = self.journal.next(ledger.OPENING, self._model_name(), "")
        session, asked = Session(id=self.step.session_id), messages[-1].text
        self._writes.append(lambda: session.put(user_prompt=asked))
        if entry.sealed:
            return
        written = sealing.rows(messages)
        entry.key = sealing.digest(written)
        self._writes += [entry.claim, lambda: entry.seal({"messages": written, **facts})]

    def follow(self, conversation: Talk[Ending], acts: Acts) -> Ending:
        """Drive a whole conversation; gives how it ended.

        What came last is written by `commit`, or by `write` in a transaction of the caller's.
        """
        self.acts = acts
        known: Known = None
        try:
            while True:
                known = self._heard(conversation.send(known))
        except StopIteration as over:
            self.voice.flush()
            ending: Ending = over.value
            return ending
        except Awaited as delegated:
            delegated.asked_by = self.journal.asked_by(self._claimed())
            raise
        except (Stopped, DeadlinePassed):
            self.commit()
            raise

    def commit(self) -> None:
        """Write what is held back; raises Stopped when the lease is gone."""
        if not self._writes and not self._told:
            return
        with db.atomic():
            run = Run.locked(self.run.id, self.run.attempt)
            if run is None or not self.step.held():
                raise Stopped(LOST)
            self.write(run)

    def write(self, run: Run) -> None:
        """Write what is held back in the transaction of a caller who holds run and lease."""
        for write in self._writes:
            write()
        if self._told:
            run.record(*self._told, session_id=self.step.session_id)
        self._writes.clear()
        self._told.clear()

    def warn(self, message: str) -> None:
        """Tell in the log and in the run's history what whoever runs this should know."""
        log.warning(message, run=self.run.id, step=self.step.step_id)
        self._tell("warning", message=message)

    def _heard(self, event: Event) -> Known:
        if isinstance(event, Spoke):
            self.voice.speak(event)
            return None
        self.voice.flush()
        match event:
            case Asking():
                return self._asking(event)
            case Called():
                return self._called(event)
            case Overflowed():
                self._seal(sealing.overflow_row(event.message))
            case Replied():
                self._replied(event)
            case Returned():
                self._returned(event)
            case Compacted():
                self._compacted(event)
        return None

    def _asking(self, event: Asking) -> Known:
        """Claim the call, unless its answer is on record."""
        key = sealing.question_key(event)
        entry = self.journal.next(ledger.MODEL, self._model_name(), key)
        if entry.sealed:
            return sealing.answer_of(entry.response)
        entry.key, entry.request = key, sealing.question_row(event)
        self._claim(entry)
        return None

    def _replied(self, event: Replied) -> None:
        self.turns += 1
        self.said = event.answer.reply.message.text or self.said
        if not event.known:
            self._answered(event.answer)

    def _compacted(self, event: Compacted) -> None:
        if event.answer is not None:
            self.turns += 1
            if not event.known:
                self._answered(event.answer)
        self._tell("context_compacted", before=event.before, after=event.after)

    def _answered(self, answer: Answer) -> None:
        """Seal an answer with its call row and events."""
        reply = answer.reply
        call = self._call_row(answer)
        self._seal(sealing.answer_row(answer))
        session = Session(id=self.step.session_id)
        turns = self.turns
        self._writes += [call.add, lambda: session.put(turn_count=turns)]
        text = bounded(reply.message.text, RESULT_LIMIT)
        self._tell("turn_end", turn=self.turns, text=text, stop=reply.stop)
        self._tell("llm_call", **call.wire(), callId=call.id, scripted=self.model.scripted)

    def _called(self, event: Called) -> Known:
        """Claim the tool's act, unless its result is on record or cannot be known any more."""
        key = sealing.call_key(event.call)
        entry = self.journal.next(ledger.TOOL, event.call.name, key)
        if entry.sealed:
            return sealing.result_of(entry.response, event.call)
        self._tell("tool_call_start", **self._names(event), args=event.call.arguments)
        if entry.tries and self.acts.effect(event.call.name) == "world":
            self._act = entry
            return self._returned(Returned(event.call, Result("", UNKNOWN, is_error=True), 0.0))
        self._claim(entry)
        return None

    def _returned(self, event: Returned) -> Result:
        """Seal a tool's result with how the files stand now."""
        result = Result(event.call.id, event.result.text, event.result.is_error)
        saved = self.acts.saved(event.call.name)
        at = (saved.commit, saved.snapshot) if saved else (None, None)
        self._seal(sealing.result_row(result, event.seconds), *at)
        shown = {"result": bounded(result.text, RESULT_LIMIT), "isError": result.is_error}
        self._tell(
            "tool_call_end", **self._names(event), **shown, durationMs=round(event.seconds * 1000)
        )
        return result

    def _claim(self, entry: Entry) -> None:
        """Write down that the act begins, together with all that was held back."""
        self._act = entry
        self._writes.append(entry.claim)
        self.commit()

    def _seal(self, row: dict[str, Any], *saved: str | None) -> None:
        entry = self._claimed()
        self._writes.append(lambda: entry.seal(row, *saved))

    def _claimed(self) -> Entry:
        if self._act is None:
            raise RuntimeError("an answer came before anything was asked")
        return self._act

    def _call_row(self, answer: Answer) -> LlmCall:
        reply = answer.reply
        cost = price(self.model.provider, self.model.name, reply.usage)
        return LlmCall(
            id=LlmCall.id.default(),
            session_id=self.step.session_id,
            turn=self.turns,
            run_id=self.run.id,
            step_id=self.step.step_id,
            agent_id=self.step.agent_id,
            owner_id=self.run.owner_id,
            request_id=reply.request_id,
            provider=self.model.provider,
            model=self.model.name,
            key_source=None if self.model.provider in OURS else "instance",
            **_tokens(reply.usage),
            cost_input=cost.input,
            cost_output=cost.output,
            cost_total=cost.total,
            cost_approximate=cost.approximate,
            duration_ms=round(answer.seconds * 1000),
            tool_call_count=len(reply.message.calls),
            has_thinking=any(isinstance(part, Thinking) for part in reply.message.parts),
            stop_reason=reply.stop,
            context_used_tokens=answer.context_used,
            context_window_tokens=self.model.window,
        )

    def _names(self, event: Called | Returned) -> dict[str, Any]:
        """Providers number their calls per reply at times; ours are unique within the run."""
        unique = f"{self.step.session_id}-{self.turns}-{event.call.id}"
        return {"toolName": event.call.name, "toolCallId": unique}

    def _tell(self, kind: str, **data: Any) -> None:
        about = {"stepId": self.step.step_id, "sessionId": self.step.session_id}
        self._told.append((kind, {**about, **data}))

    def _model_name(self) -> str:
        return f"{self.model.provider}/{self.model.name}"


def _tokens(usage: Usage) -> dict[str, int]:
    return {
        "input_tokens": usage.input,
        "output_tokens": usage.output,
        "cache_read_tokens": usage.cache_read,
        "cache_write_tokens": usage.cache_write,
        "total_tokens": usage.input + usage.output,
    }
