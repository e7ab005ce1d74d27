"""One execution of a step replayed from the record of another: no model, no tool, no files.

What the step asks and does is worked out anew and compared with the record, act by act.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from models import ledger, replays, steps
from models.ledger import Entry
from models.runs import Run
from models.steps import Step
from workers.agents import differences, sealing
from workers.agents.differences import Differs
from workers.agents.handover import declared_outputs
from workers.agents.playback import Playback, RanOut, Recorded, toolbox_of
from workers.agents.prompts import assemble
from workers.agents.tools import Toolbox
from workers.halting import Halt
from workers.llm.base import Message, ModelError
from workers.pipelines import executing
from workers.pipelines.briefing import Briefing, Look
from workers.pipelines.seat import Done, Seat, model_name

UNKNOWN = "the record of its executions is gone: the run it belongs to was deleted"
SHARED = "it was shared with an earlier run, which has been deleted with its record"
EARLIER = "there is no record of it: it was done before answers were kept"


class Rehearsal(Seat):
    """Everything the replay of one execution needs; `work` does it."""

    def work(self, halt: Halt) -> Done:
        """What the record leads to; a difference ends the run and is told in its error.

        Raises Stopped and DeadlinePassed.
        """
        try:
            return self._replayed(halt)
        except Differs as difference:
            error = f"The replay differs in step {self.step.step_id}: {difference}"
            return Done(error, {"final": True}, {"error": error})

    def _replayed(self, halt: Halt) -> Done:
        recorded = self._recorded()
        entries = self._entries(recorded)
        if not entries:
            return self._ended_as(recorded)  # it ended before its conversation began
        model = Recorded(**entries[0].response["model"])
        toolbox = self._toolbox(model)
        messages = self._opening(model, toolbox, recorded, entries[0])
        playback = Playback(self.step, entries, self._thinks_alike)
        try:
            ending = playback.follow(self._talk(model, toolbox, messages, halt))
        except (RanOut, ModelError) as trouble:
            if recorded.state == steps.COMPLETED:
                raise Differs(f"it goes on where the record ends: {trouble}") from trouble
            return self._ended_as(recorded, playback)
        if recorded.state != steps.COMPLETED:
            return self._ended_as(recorded, playback)
        done = self._concluded(ending, playback.said, playback.write)
        return self._as_recorded(done, recorded)

    def _recorded(self) -> Step:
        """The execution at the same place of the run that is replayed."""
        executions = [step for step in Step.of(self.run) if step.state != steps.CANCELLED]
        recorded = Step.find(replays.record_of(self.run)[len(executions) - 1].execution)
        if recorded is None:
            raise Differs(UNKNOWN)
        return recorded

    def _entries(self, recorded: Step) -> Sequence[Entry]:
        """The record of the execution, or of the one that it shares."""
        entries = ledger.of(recorded.origin_id or recorded.id)
        if not entries and recorded.origin_id:
            raise Differs(SHARED)
        begun = bool(entries) and entries[0].sealed
        if begun and "model" not in entries[0].response:
            raise Differs(EARLIER)
        if not begun and recorded.state == steps.COMPLETED:
            raise Differs(EARLIER)
        return entries if begun else ()

    def _toolbox(self, model: Recorded) -> Toolbox | None:
        if not self._equipped(model):
            return None
        return toolbox_of(declared_outputs(self.spec), self.spec.tools, self._withheld)

    def _opening(
        self, model: Recorded, toolbox: Toolbox | None, recorded: Step, entry: Entry
    ) -> Sequence[Message]:
        """The messages on record, unless today's definition opens with others."""
        messages = [sealing.message_of(row) for row in entry.response["messages"]]
        if replays.is_pinned(self.run):
            return messages
        self._compare_models(recorded)
        anew = assemble(self._briefing(recorded, entry).brief(*self._seen(model, toolbox, entry)))
        written = [sealing.message_of(row) for row in sealing.cleaned(anew)]
        if difference := differences.openings(messages, written):
            raise Differs(difference)
        return messages

    def _compare_models(self, recorded: Step) -> None:
        """The server's default is no part of a definition: what was used then counts for it."""
        used = str(recorded.model_used)
        settings = replace(self.settings, default_model=used, executor_model=None)
        name = model_name(settings, self.run, self.spec, self.agent)
        if not self._forked(recorded) and name != recorded.model_used:
            raise Differs(f"the model differs: {differences.values(recorded.model_used, name)}")

    @property
    def _thinks_alike(self) -> bool:
        """Whether nothing that the replay goes by says how much the model thinks."""
        return replays.is_pinned(self.run) or self._thinking_level is None

    def _forked(self, recorded: Step) -> bool:
        """Whether another run did this, perhaps with a model of its own."""
        return recorded.origin_id is not None

    def _briefing(self, recorded: Step, entry: Entry) -> Briefing:
        """What the step is told, in the name of the run that was told it first."""
        first = Step.find(recorded.origin_id or recorded.id) or recorded
        known: dict[str, Any] = {"human_context": entry.response["human_context"]}
        run = Run(**self.run.__data__ | {"id": first.run_id, **known})
        step = Step(**self.step.__data__ | {"human_context": recorded.human_context})
        return Briefing(run, step, self.definition, self.agent)

    def _seen(
        self, model: Recorded, toolbox: Toolbox | None, entry: Entry
    ) -> tuple[Look, tuple[str, ...], bool]:
        tools = tuple(spec.name for spec in toolbox.specs) if toolbox else ()
        return Look.of(entry.response["look"]), tools, model.small

    def _ended_as(self, recorded: Step, playback: Playback | None = None) -> Done:
        """The failure on record, or that the step was called off there."""
        kept = ("outputs", "text", "final", "model_used")
        step = {name: getattr(recorded, name) for name in kept} | {"origin_id": recorded.id}
        unwritten = playback.write if playback else lambda run: None
        return Done(str(recorded.error), step, unwritten=unwritten)

    def _as_recorded(self, done: Done, recorded: Step) -> Done:
        """A good end, if it is the one on record; the files are those of then."""
        if done.error is not None:
            raise Differs(f"it fails where it was done: {done.error}")
        outputs = executing.with_former_facts(done.step["outputs"], recorded.outputs)
        if difference := differences.outputs(recorded.outputs, outputs):
            raise Differs(difference)
        kept = ("commit", "model_used")
        step = {name: getattr(recorded, name) for name in kept} | {"origin_id": recorded.id}
        run = {"workspace_commit": recorded.commit} if recorded.commit else {}
        return replace(done, step={**done.step, "outputs": outputs, **step}, run=run)
