"""One sitting of an agent at a step: workspace, prompt, model and tools, until it is done."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace

from models.blobs import Blobs
from models.config import Settings
from models.keys import Key
from models.runs import EXECUTOR, OPEN_ENDED, PIPELINE, PULSE, WAKE, Run
from models.steps import Step
from workers import sandboxes
from workers.agents import sealing
from workers.agents.accounting import paying
from workers.agents.acts import Acts
from workers.agents.events import Ending
from workers.agents.handover import declared_outputs
from workers.agents.journal import Diverged, Journal
from workers.agents.mandate import Mandate
from workers.agents.overhearing import Overhearing
from workers.agents.prompts import assemble
from workers.agents.tools import Toolbox
from workers.agents.tools.base import Bench
from workers.agents.tools.tree import Tree
from workers.agents.transcript import Transcript
from workers.agents.voice import Voice
from workers.halting import Halt
from workers.llm import open_model
from workers.llm.base import Message, Model
from workers.pipelines import executing, progress
from workers.pipelines.briefing import Briefing, Look
from workers.pipelines.equipment import Equipment, equip
from workers.pipelines.letters import Letters
from workers.pipelines.seat import Done, Seat, uses_files
from workers.repositories import origin_for
from workers.sandboxes.base import Engine, Spec
from workers.sandboxes.discreet import Discreet
from workers.workspaces import Origin, Saved, Savepoint, Workspace, open_workspace

UNCONFINED = "SANDBOX=unsafe-local: this agent's commands run unconfined, with the worker's rights"
LOST = "these secrets were left out, because they do not open or are too large: {names}"


class Sitting(Seat):
    """Everything one execution of a step needs; `work` does it."""

    def __init__(self, settings: Settings, run: Run, step: Step) -> None:
        super().__init__(settings, run, step)
        self.blobs = Blobs(settings.blob_url)
        self.journal = Journal.read(step.id)
        self.unconfined = False
        self.equipment = Equipment()
        self.key: Key | None = None  # what pays; None for a model that takes nothing

    def work(self, halt: Halt) -> Done:
        """Let the agent work, from where the ledger ends or the work goes another way than it.

        Raises Stopped, DeadlinePassed, Awaited, ModelError and WorkspaceError.
        """
        while True:
            try:
                return self._worked(halt)
            except Diverged:
                self.journal = Journal.read(self.step.id)  # by now without what was another way

    def _worked(self, halt: Halt) -> Done:
        model = self._model()
        with ExitStack() as opened:
            workspace = self._workspace(opened)
            transcript = self._transcript(model)
            with ExitStack() as confined:  # no command may live on while the files are committed
                toolbox = self._toolbox(model, workspace, confined)
                messages = self._open(transcript, model, workspace, toolbox)
                talk = self._talk(model, toolbox, messages, halt)
                last = next(reversed(self._savepoints), None)
                ending = transcript.follow(talk, Acts(toolbox, workspace, self.blobs, last), halt)
            done = self._concluded(ending, transcript.said, transcript.write)
            if workspace is None:
                return done
            transcript.commit()
            halt.check()
            return self._committed(done, ending, workspace)

    def _transcript(self, model: Model) -> Transcript:
        voice = Voice(self.run, self.step, self.settings.redis_url)
        return Transcript(self.run, self.step, model, self.journal, voice, self.key)

    @property
    def _savepoints(self) -> list[Savepoint]:
        """How the files stood after each act of the step that changed them."""
        return self.journal.savepoints

    def _origin(self) -> Origin | None:
        """The repository that the files begin with, and have begun with if they have."""
        origin = origin_for(self.run.project_id, self.run.owner_id, self.run.task_branch)
        whole = self.run.meta.get("whole_branch")
        if origin is None or whole is None:
            return origin
        opening = self.journal.opening
        if opening is None:
            return replace(origin, whole=whole)
        at = opening.response.get("whole")  # others of its swarm may have gone on there since
        return replace(origin, whole=whole, whole_at=at) if at else origin

    def _model(self) -> Model:
        name = self.step.model_used or ""  # chosen when the step was first begun
        self.key = paying(self.run, name)
        credentials = {self.key.provider_id: self.key.credential} if self.key else {}
        return open_model(name, credentials, self.settings.local_model_url)

    def _workspace(self, opened: ExitStack) -> Workspace | None:
        """The run's files as the last sealed act left them; None when no step uses any."""
        if not uses_files(self.definition):
            return None
        commit, snapshot = self.run.workspace_commit, self.run.workspace_snapshot
        saved = Saved(commit, snapshot) if commit and snapshot else None
        root, begin = self.settings.data / "workspaces", saved or executing.starts_of(self.run)
        origin = self._origin()
        workspace = opened.enter_context(
            open_workspace(root, self.run.id, begin, self.blobs, origin)
        )
        if self._savepoints:
            workspace.restore(self._savepoints, self.blobs)
        return workspace

    def _toolbox(
        self, model: Model, workspace: Workspace | None, opened: ExitStack
    ) -> Toolbox | None:
        """The step's tools; None where it is to answer in a given shape instead."""
        if workspace is None or not self._equipped(model):
            return None
        bench, open_ended = self._bench(workspace, opened), self.run.kind in OPEN_ENDED
        return Toolbox(bench, self._allowed, self._withheld, open_ended)

    def _bench(self, workspace: Workspace, opened: ExitStack) -> Bench:
        """A workbench whose commands run confined; they end with the step."""
        engine = Engine(self.settings.docker_host, self.settings.sandbox_image)
        backend = sandboxes.choose(self.settings.sandbox, engine)
        self.unconfined = not backend.confines
        network = bool(self.agent.config.get("network", False))
        self.equipment = equip(self.settings, self.run, self.step, network)
        belongings, hidden = self.equipment.belongings, self.equipment.hidden
        spec = Spec(workspace.tree, workspace.git_dir, network=network, belongings=belongings)
        sandbox = Discreet(opened.enter_context(backend.open(spec)), hidden)
        contained = backend.confines and not network
        declared = declared_outputs(self.spec)
        mandate, ear = Mandate(self.step), self._ear()
        return Bench(Tree(workspace.tree), sandbox, declared, contained, hidden, mandate, ear)

    def _ear(self) -> Overhearing:
        """What tells whoever watches what commands print."""
        return Overhearing(self.run, self.step, self.settings.redis_url)

    def _open(
        self,
        transcript: Transcript,
        model: Model,
        workspace: Workspace | None,
        toolbox: Toolbox | None,
    ) -> Sequence[Message]:
        """The messages the conversation opens with: those on record, or new ones."""
        if self.journal.opening is not None:
            messages = [
                sealing.message_of(row) for row in self.journal.opening.response["messages"]
            ]
            transcript.open(messages, {})
            return messages
        letters = self._letters(model)
        tools = tuple(spec.name for spec in toolbox.specs) if toolbox else ()
        seen = self.equipment.seen(Look.at(workspace))
        look = replace(seen, skills=self._skills(tools), inbox=letters.texts)
        briefing = Briefing(self.run, self.step, self.definition, self.agent)
        messages = list(assemble(briefing.brief(look, tools, model.small)))
        told = {"look": look.row(), "human_context": self.run.human_context}
        told["model"] = sealing.model_row(model)
        told["whole"] = workspace.whole if workspace else None
        transcript.open(messages, told, letters.read)
        if self.unconfined:
            transcript.warn(UNCONFINED)
        if self.equipment.lost:
            transcript.warn(LOST.format(names=", ".join(self.equipment.lost)))
        return messages

    def _letters(self, model: Model) -> Letters:
        """What others have left for the agent; an executor has its order, and is not disturbed."""
        if model.small or self.run.kind not in (PIPELINE, PULSE, WAKE):
            return Letters()
        return Letters.taken(self.agent.id, self.run, self.step)

    def _committed(self, done: Done, ending: Ending, workspace: Workspace) -> Done:
        """The same with the files of a step that went well."""
        if done.error is not None:
            return done
        summary = ending.summary or next(iter(done.step["outputs"].values()), "")
        if self.run.kind != EXECUTOR:  # what is merged must not differ by its diary alone
            progress.append(workspace.tree, self.step, summary)
        message = progress.commit_message(self.step, summary)
        commit = workspace.commit(message, self.agent.name, self.step.id)
        run = {"workspace_commit": commit, "workspace_snapshot": workspace.snapshot(self.blobs)}
        step = {**done.step, "commit": commit}
        if self.run.kind == EXECUTOR:
            step["outputs"] = executing.with_facts(step["outputs"], workspace, commit)
        return replace(done, step=step, run=run)
