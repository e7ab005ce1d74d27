"""One turn of a chat: a sitting that is told what was said, and answers in words."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

from models.base import NOW
from models.chats import ChatMessage, ChatSession
from models.config import Settings
from models.insisting import insist
from models.runs import Run
from models.steps import Step
from tasks import turns
from workers.agents import sealing
from workers.agents.compaction import condense
from workers.agents.events import Ending, Talk
from workers.agents.loop import Tools, converse
from workers.agents.recounting import Recounting
from workers.agents.showing import Room
from workers.agents.small_talk import Talk as SmallTalk
from workers.agents.tools import FOR_PLANNERS, Toolbox, usual
from workers.agents.tools.base import ToolError, Verdict
from workers.agents.transcript import Transcript
from workers.halting import Halt, Stopped
from workers.llm.base import Call, Message, Model, Result, ToolSpec
from workers.pipelines.briefing import Look
from workers.pipelines.seat import Done
from workers.pipelines.sitting import LOST, UNCONFINED, Sitting
from workers.repositories import origin_for
from workers.workspaces import Origin, Savepoint, Workspace

SILENT = "The model had nothing to say."


@dataclass
class Toolless:
    """For models that get no tools: they only talk."""

    verdict: Verdict | None = None
    specs: Sequence[ToolSpec] = ()

    def run(self, call: Call, halt: Halt) -> Result:
        """There is none."""
        raise ToolError("there are no tools")

    def ends(self, name: str) -> bool:
        """Nothing does but silence."""
        return False


class Turn(Sitting):
    """The answer to one message; `work` gives it."""

    def __init__(self, settings: Settings, run: Run, step: Step) -> None:
        super().__init__(settings, run, step)
        self.chat: ChatSession = ChatSession.of(run)
        self.answer = ChatMessage.of_execution(step.id) or ChatMessage()
        self.voice = Recounting(run, step, settings.redis_url)
        self.condensing: tuple[int, int] = (0, 0)  # how many messages, and the last one's number
        self.summary: str | None = None
        self.transcript: Transcript | None = None

    def work(self, halt: Halt) -> Done:
        """Give the answer; when it is called off what was said so far is kept.

        Raises what Sitting.work does.
        """
        try:
            return super().work(halt)
        except Stopped:
            insist(lambda: turns.leave(self.step, *self.voice.so_far()))
            raise

    def _transcript(self, model: Model) -> Transcript:
        self.voice = Recounting(self.run, self.step, self.settings.redis_url)
        self.transcript = Transcript(self.run, self.step, model, self.journal, self.voice, self.key)
        return self.transcript

    @property
    def _savepoints(self) -> list[Savepoint]:
        """Turns that were called off have left their files as well."""
        return [*(Savepoint(*pair) for pair in turns.carried(self.run)), *super()._savepoints]

    def _origin(self) -> Origin | None:
        """That of the session's project, which does not stand on the run."""
        return origin_for(self.chat.project_id, self.run.owner_id)

    @property
    def _allowed(self) -> Collection[str] | None:
        return usual(*FOR_PLANNERS, *self.chat.tools)

    def _open(
        self,
        transcript: Transcript,
        model: Model,
        workspace: Workspace | None,
        toolbox: Toolbox | None,
    ) -> Sequence[Message]:
        """What was said so far and the message: as on record, or put together now."""
        if self.journal.opening is not None:
            kept = self.journal.opening.response
            self.condensing = tuple(kept["condensing"])
            messages = [sealing.message_of(row) for row in kept["messages"]]
            transcript.open(messages, {})
            return messages
        talk = self._talk_of(model, toolbox)
        if count := talk.condensable():
            self.condensing = count, talk.condensed_up_to()
        messages = talk.opening()
        facts = {"condensing": list(self.condensing), "model": sealing.model_row(model)}
        transcript.open(messages, facts)
        if self.unconfined:
            transcript.warn(UNCONFINED)
        if self.equipment.lost:
            transcript.warn(LOST.format(names=", ".join(self.equipment.lost)))
        return messages

    def _talk_of(self, model: Model, toolbox: Toolbox | None) -> SmallTalk:
        said = insist(lambda: ChatMessage.of(self.chat.id, self.chat.summarised))
        asked = self.answer.number - 1
        message = next(each for each in said if each.number == asked)
        room = Room.of(model)
        upto = [each for each in said if each.number <= asked and each.attachments]
        shown = {each.id: room.shown(each.attachments) for each in reversed(upto)}
        tools = tuple(spec.name for spec in toolbox.specs) if toolbox else ()
        return SmallTalk(
            agent=self.agent,
            past=[each for each in said if each.number < asked],
            message=message,
            shown=shown,
            summary=self.chat.summary or "",
            override=self.chat.system_prompt_override or "",
            supplement=self.chat.system_prompt_supplement or "",
            tools=tools,
            skills=self._skills(tools),
            environment=self.equipment.seen(Look()).carried,
            window=model.window,
            small=model.small,
            used=self.chat.context_used,
        )

    def _talk(
        self, model: Model, toolbox: Tools | None, messages: Sequence[Message], halt: Halt
    ) -> Talk[Ending]:
        count, _ = self.condensing
        if count:
            divided = messages[:1], messages[1 : count + 1], messages[count + 1 :]
            made = yield from condense(model, divided, halt)
            self.summary, messages = made.event.summary, made.messages
            yield made.event
        return (yield from converse(model, toolbox or Toolless(), messages, self._limits(), halt))

    def _concluded(self, ending: Ending, said: str, unwritten: Callable[[Run], None]) -> Done:
        """The turn is over; a model that said nothing at all has failed."""
        error = ending.error or None
        if ending.succeeded and not said.strip() and self._replies <= 1:
            error = SILENT

        def write(run: Run) -> None:
            unwritten(run)
            ChatSession(id=run.id).put(**self._remembered(), updated_at=NOW)

        return Done(error, {"outputs": {}, "text": said}, unwritten=write)

    @property
    def _replies(self) -> int:
        return self.transcript.telling.turns if self.transcript else 0

    def _remembered(self) -> dict[str, Any]:
        """What the session knows of itself from now on."""
        used = self.transcript.used if self.transcript else 0
        if not self.summary:
            return {"context_used": used}
        told = {"summary": self.summary, "summarised": self.condensing[1]}
        return {"context_used": used, **told}

    def _committed(self, done: Done, ending: Ending, workspace: Workspace) -> Done:
        """The same with the files, where the turn has changed any."""
        if not workspace.changed():
            return done
        commit = workspace.commit(f"chat ({self.agent.name})", self.agent.name, self.step.id)
        snapshot = workspace.snapshot(self.blobs)
        run = {"workspace_commit": commit, "workspace_snapshot": snapshot}
        return replace(done, step={**done.step, "commit": commit}, run=run)
