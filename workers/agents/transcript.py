"""Driving a conversation and writing it down: the ledger, durable events, call rows, live text.

Every act is claimed before it is done and sealed after, what comes in between goes along in one
of the two transactions. Each holds the run's lock and asks whether the lease is still ours, so a
worker that was taken over can neither write anything nor begin anything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from models import events, ledger
from models.base import db
from models.insisting import insist
from models.keys import Key
from models.ledger import Entry
from models.logs import log
from models.runs import OPEN_ENDED, Run
from models.sessions import Session
from models.spending import Busy, Reached
from models.steps import Step
from tasks import budgets
from workers.agents import sealing
from workers.agents.accounting import call_row, note_payer, shared_by
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
from workers.agents.journal import Diverged, Journal
from workers.agents.purse import Purse
from workers.agents.telling import Telling
from workers.agents.tools.base import Awaited
from workers.agents.voice import Voice
from workers.halting import LOST, DeadlinePassed, Halt, Stopped
from workers.llm.base import Message, Model, ModelError, Options, Refused, Result

BUDGET = "budget reached"
BUSY_SECONDS = 0.5  # between looks whether other calls have left room in a budget


class Transcript:
    """The record of one session; it drives the conversation that it writes down."""

    def __init__(
        self,
        run: Run,
        step: Step,
        model: Model,
        journal: Journal,
        voice: Voice,
        key: Key | None = None,
    ) -> None:
        self.run = run
        self.step = step
        self.model = model
        self.journal = journal
        self.voice = voice
        self.acts = Acts()
        self.halt = Halt()
        self.telling = Telling(step)
        self.used = 0  # tokens of the conversation, when the model answered last
        self.said = ""  # the last thing the model said in words
        self.key = key  # what pays for the calls
        self.purse = Purse(model, step.id, shared_by(key))
        self._act: Entry | None = None  # the one under way
        self._asked: Asking | None = None
        self._granted: Options | Busy | Reached = Options()  # how the model may be asked
        self._sent = False  # whether what is held back was written, if perhaps not committed
        self._bears = False  # whether a claim or a seal of the act is among it
        self._further = False  # whether an act was done among it, which clears a suspect
        self._before = 0  # the run's last event before what is held back was written
        self._after = 0  # the run's last event when the act under way began
        self._unknown = False  # whether nobody knows what came of the latest act
        self._writes: list[Callable[[Run], object]] = []

    def open(
        self,
        messages: Sequence[Message],
        facts: dict[str, Any],
        also: Callable[[Run], object] | None = None,
    ) -> None:
        """Seal, with the first act, what the conversation opens with and what that rests on.

        `also` is written with it: what must happen exactly when the agent gets to see that.
        """
        entry = self.journal.next(ledger.OPENING, self._model_name(), "")
        session, asked = Session(id=self.step.session_id), messages[-1].text
        paid = self.key and self.key.resolution()
        self._writes.append(lambda run: session.put(user_prompt=asked, key_resolution=paid))
        self._writes.append(lambda run: note_payer(run, self.key))
        if entry.sealed:
            return
        written = sealing.rows(messages)
        entry.key = sealing.digest(written)
        self._writes.append(lambda run: entry.claim())
        self._writes.append(lambda run: entry.seal({"messages": written, **facts}))
        if also is not None:
            self._writes.append(also)

    def follow(self, conversation: Talk[Ending], acts: Acts, halt: Halt) -> Ending:
        """Drive a whole conversation; gives how it ended.

        What came last is written by `commit`, or by `write` in a transaction of the caller's.
        """
        self.acts, self.halt = acts, halt
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
            delegated.base = acts.packed()
            raise
        except Diverged as other:
            log.warning(str(other), run=self.run.id, step=self.step.step_id)
            with self._held():
                ledger.cut(self.step.id, other.seq)
            raise
        except (ModelError, DeadlinePassed) as error:
            self._cut(error)
            raise
        except Stopped:
            self.commit()
            raise

    def _cut(self, error: ModelError | DeadlinePassed) -> None:
        """Write what is held back, and what a reply had come to that was broken off."""
        if isinstance(error, ModelError) and error.unpaid:
            self._writes.append(self.purse.keep)
        if came := self.voice.cut():
            self.telling.tell("turn_cut", **came)
        self.commit()

    def commit(self) -> None:
        """Write what is held back; raises Stopped when the lease is gone."""
        if self._writes or self.telling.told:
            insist(self._commit)
            self._forget()

    def write(self, run: Run) -> None:
        """Write what is held back in the transaction of a caller who holds run and lease."""
        self._before = run.event_seq
        for write in self._writes:
            write(run)
        self.telling.write(run)
        self._sent = True

    def warn(self, message: str) -> None:
        """Tell in the log and in the run's history what whoever runs this should know."""
        log.warning(message, run=self.run.id, step=self.step.step_id)
        self.telling.tell("warning", message=message)

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
                self._overflowed(event)
            case Replied():
                self._replied(event)
            case Returned():
                self._returned(event)
            case Compacted():
                self._compacted(event)
        return None

    def _asking(self, event: Asking) -> Known:
        """Claim the call, unless its answer is on record."""
        self._asked = event
        key = sealing.question_key(event)
        entry = self.journal.next(ledger.MODEL, self._model_name(), key)
        if entry.sealed:
            return sealing.answer_of(entry.response)
        entry.key, entry.request = key, sealing.question_row(event)
        self.halt.begin()
        while True:
            granted = insist(lambda: self._afford(entry, event))
            self._forget()
            if isinstance(granted, Reached):
                raise self._spent(granted)
            if isinstance(granted, Options):
                self.voice.asked(self._after, entry.tries > 1)
                return granted
            self.halt.wait(BUSY_SECONDS)

    def _afford(self, entry: Entry, event: Asking) -> Options | Busy | Reached:
        """Claim the call and set its worst case aside; a budget that is reached pauses the run."""
        with self._held() as run:
            if self._arrived():
                return self._granted
            self.write(run)
            self._after = run.event_seq
            granted = self._granted = self.purse.open(run, event)
            if isinstance(granted, Reached) and run.kind not in OPEN_ENDED:
                budgets.pause(run, granted)
            elif isinstance(granted, Options):
                self._act, self._bears = entry, True
                entry.claim()
        return granted

    def _spent(self, reached: Reached) -> Exception:
        """How a budget that is reached ends the work: what nobody could resume fails."""
        if self.run.kind in OPEN_ENDED:
            return Refused(f"The budget is reached. {budgets.told(self.run, reached)['raise']}")
        return Stopped(BUDGET)

    def _overflowed(self, event: Overflowed) -> None:
        self._seal(sealing.overflow_row(event.message))
        if event.unpaid:
            self._writes.append(self.purse.keep)

    def _replied(self, event: Replied) -> None:
        self.telling.turns += 1
        self._count(event.answer)
        self.said = event.answer.reply.message.text or self.said
        if not event.known:
            self._answered(event.answer, **self.voice.closing(event.answer.reply))
        self.voice.replied(event.answer.reply)
        self.used = event.answer.context_used

    def _compacted(self, event: Compacted) -> None:
        if event.answer is not None:
            self.telling.turns += 1
            self._count(event.answer)
            if not event.known:
                self._answered(event.answer, unheard=True)
        if not self.journal.ahead:  # else it was told together with the act that came next
            self.telling.compacted(event)

    def _count(self, answer: Answer) -> None:
        if self._asked is not None:
            self.purse.heard(self._asked, answer)

    def _answered(self, answer: Answer, **more: Any) -> None:
        """Seal an answer with its call row and events, and pay for it."""
        reply = answer.reply
        turns = self.telling.turns
        call = call_row(self.run, self.step, self.model, self.key, turns, answer)
        self._seal(sealing.answer_row(answer))
        session = Session(id=self.step.session_id)
        self._writes.append(lambda run: call.add())
        self._writes.append(lambda run: session.put(turn_count=turns))
        self._writes.append(lambda run: self.purse.pay(run, reply.usage))
        self.telling.turn_ended(reply, **more)
        told = {"callId": call.id, "scripted": self.model.scripted}
        self.telling.tell("llm_call", **call.wire(), **told)

    def _called(self, event: Called) -> Known:
        """Claim the tool's act, unless its result is on record or cannot be known any more."""
        key = sealing.call_key(event.call)
        entry = self.journal.next(ledger.TOOL, event.call.name, key)
        if entry.sealed:
            return sealing.result_of(entry.response, event.call)
        self.telling.call_began(event.call)
        asked_by = self.journal.asked_by(entry)
        launched = (entry.request or {}).get("launched")
        came = self.acts.came_of(event.call, asked_by, launched) if entry.tries else None
        if came is not None:
            self._act, entry.lost = entry, came.is_error  # what others did is known
            return self._returned(Returned(event.call, came, 0.0))
        self.acts.begins(asked_by)
        self._claim(entry)
        where = {"sessionId": self.step.session_id, "after": self._after}
        self.acts.watched({**self.telling.names(event.call), **where})
        return None

    def _returned(self, event: Returned) -> Result:
        """Seal a tool's result with how the files stand now."""
        result = Result(event.call.id, event.result.text, event.result.is_error)
        saved = self.acts.saved(event.call.name)
        at = (saved.commit, saved.snapshot) if saved else (None, None)
        self._seal(sealing.result_row(result, event.seconds), *at)
        self.telling.call_ended(event.call, result, event.seconds)
        return result

    def _claim(self, entry: Entry) -> None:
        """Write down that the act begins, together with all that was held back."""
        self.halt.begin()
        self._act, self._bears = entry, True
        self._writes.append(lambda run: entry.claim())
        self.commit()

    def _seal(self, row: dict[str, Any], *saved: str | None) -> None:
        entry = self._claimed()
        heard_of_loss = self._unknown and entry.kind == ledger.MODEL
        self._further = self._further or not (entry.lost or heard_of_loss)
        self._unknown = entry.lost
        self._bears = True
        self._writes.append(lambda run: entry.seal(row, *saved))

    def _claimed(self) -> Entry:
        if self._act is None:
            raise RuntimeError("an answer came before anything was asked")
        return self._act

    def _commit(self) -> None:
        with self._held() as run:
            if not self._arrived():
                self.write(run)
            self._after = run.event_seq

    def _arrived(self) -> bool:
        """Whether a try was taken whose commit was not answered: the act says so, or an event."""
        if not self._sent:
            return False
        if self._bears:
            return self._claimed().written()
        return events.told_since(self.run.id, self._before, self.step.session_id)

    def _forget(self) -> None:
        """What was held back is written: if an act was done, see `steps.POINT`, it came further."""
        if self._further:
            self.halt.further()
        self._writes.clear()
        self.telling.told.clear()
        self.voice.written()
        self._sent = self._bears = self._further = False

    @contextmanager
    def _held(self) -> Iterator[Run]:
        """A transaction in which the run is locked and the step still ours."""
        with db.atomic():
            run = self.step.held_run()
            if run is None:
                raise Stopped(LOST)
            yield run

    def _model_name(self) -> str:
        return f"{self.model.provider}/{self.model.name}"
