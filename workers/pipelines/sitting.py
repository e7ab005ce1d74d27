"""One sitting of an agent at a step: workspace, prompt, model and tools, until it is done."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Any

from models.agents import Agent
from models.blobs import Blobs
from models.config import Settings
from models.definitions import Definition, StepSpec
from models.pipelines import definition_of
from models.runs import EXECUTOR, Run
from models.steps import Step
from workers import sandboxes
from workers.agents import sealing
from workers.agents.acts import Acts
from workers.agents.answering import answer_in_shape
from workers.agents.events import Ending, Limits, Talk
from workers.agents.finishing import WHOLE, owed
from workers.agents.handover import declared_outputs, shape_for
from workers.agents.journal import Journal
from workers.agents.loop import converse
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
from workers.sandboxes.base import Engine, Spec
from workers.workspaces import Saved, Start, Workspace, open_workspace

FILE_TOOLS = frozenset({"read", "write", "edit", "bash", "grep", "find", "ls"})
UNCONFINED = "SANDBOX=unsafe-local: this agent's commands run unconfined, with the worker's rights"
FAILING = frozenset({"fail", "failed", "error"})


@dataclass(frozen=True)
class Done:
    """What a sitting came to; `step` and `run` hold columns to write, `error` is None when good.

    `unwritten` writes what the record still owes; it belongs into the transaction that settles.
    """

    error: str | None = None
    step: dict[str, Any] = field(default_factory=dict)
    run: dict[str, Any] = field(default_factory=dict)
    unwritten: Callable[[Run], None] = lambda run: None


class Sitting:
    """Everything one execution of a step needs; `work` does it."""

    def __init__(self, settings: Settings, run: Run, step: Step) -> None:
        self.settings = settings
        self.run = run
        self.step = step
        self.definition: Definition = definition_of(run.version_id)
        self.spec: StepSpec = self.definition.step(step.step_id)
        self.agent: Agent = agent_of(self.definition, step.agent_id)
        self.blobs = Blobs(settings.blob_url)
        self.journal = Journal.read(step.id)
        self.unconfined = False

    def work(self, halt: Halt) -> Done:
        """Let the agent work, from where the ledger ends.

        Raises Stopped, DeadlinePassed, Awaited, ModelError and WorkspaceError.
        """
        model = self._model()
        with ExitStack() as opened:
            workspace = self._workspace(opened)
            voice = Voice(self.run, self.step, self.settings.redis_url)
            transcript = Transcript(self.run, self.step, model, self.journal, voice)
            with ExitStack() as confined:  # no command may live on while the files are committed
                toolbox = self._toolbox(model, workspace, confined)
                messages = self._open(transcript, model, workspace, toolbox)
                talk = self._talk(model, toolbox, messages, halt)
                last = next(reversed(self.journal.savepoints), None)
                ending = transcript.follow(talk, Acts(toolbox, workspace, self.blobs, last), halt)
            if workspace is None:
                return self._concluded(ending, transcript)
            transcript.commit()
            halt.check()
            return self._committed(self._concluded(ending, transcript), ending, workspace)

    def _model(self) -> Model:
        name = model_name(self.settings, self.run, self.spec, self.agent)
        return open_model(name, self.settings.providers, self.settings.local_model_url)

    def _workspace(self, opened: ExitStack) -> Workspace | None:
        """The run's files as the last sealed act left them; None when no step uses any."""
        if not uses_files(self.definition):
            return None
        commit, snapshot = self.run.workspace_commit, self.run.workspace_snapshot
        saved = Saved(commit, snapshot) if commit and snapshot else None
        root, begin = self.settings.data / "workspaces", saved or executing.starts_of(self.run)
        workspace = opened.enter_context(open_workspace(root, self.run.id, begin, self.blobs))
        if self.journal.savepoints:
            workspace.restore(self.journal.savepoints, self.blobs)
        return workspace

    def _files(self) -> Saved | Sequence[Start] | None:
        """What the run's last step left; for its first one what it was told to start from."""
        commit, snapshot = self.run.workspace_commit, self.run.workspace_snapshot
        if commit and snapshot:
            return Saved(commit, snapshot)
        told = self.run.meta.get("starts") or ()
        starts = [Start(row["branch"], Saved(row["commit"], row["snapshot"])) for row in told]
        return starts or None

    def _toolbox(
        self, model: Model, workspace: Workspace | None, opened: ExitStack
    ) -> Toolbox | None:
        """The step's tools; None where it is to answer in a given shape instead."""
        if self._structured or model.small or workspace is None:
            return None
        return Toolbox(self._bench(workspace, opened), self.spec.tools)

    @property
    def _structured(self) -> bool:
        return self.spec.output_schema is not None

    def _bench(self, workspace: Workspace, opened: ExitStack) -> Bench:
        """A workbench whose commands run confined; they end with the step."""
        engine = Engine(self.settings.docker_host, self.settings.sandbox_image)
        backend = sandboxes.choose(self.settings.sandbox, engine)
        self.unconfined = not backend.confines
        network = bool(self.agent.config.get("network", False))
        spec = Spec(workspace.tree, workspace.git_dir, network=network)
        sandbox = opened.enter_context(backend.open(spec))
        contained = backend.confines and not network
        return Bench(Tree(workspace.tree), sandbox, declared_outputs(self.spec), contained)

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
        look = Look.at(workspace)
        tools = tuple(spec.name for spec in toolbox.specs) if toolbox else ()
        briefing = Briefing(self.run, self.step, self.definition, self.agent)
        messages = list(assemble(briefing.brief(look, tools, model.small)))
        transcript.open(messages, {"look": look.row()})
        if self.unconfined:
            transcript.warn(UNCONFINED)
        return messages

    def _talk(
        self, model: Model, toolbox: Toolbox | None, messages: Sequence[Message], halt: Halt
    ) -> Talk[Ending]:
        limits = self._limits()
        if toolbox is not None:
            return converse(model, toolbox, messages, limits, halt)
        shape = shape_for(self.spec, self.definition, model.small)
        return answer_in_shape(model, shape, messages, limits, halt)

    def _limits(self) -> Limits:
        level = self.spec.thinking_level or self.agent.config.get("thinking_level") or "off"
        return Limits(
            max_turns=self.spec.max_turns,
            max_output_tokens=self.spec.max_output_tokens,
            temperature=self.spec.temperature if self._structured else None,
            thinking_level=level,
            declared=declared_outputs(self.spec),
            silence=self.settings.model_silence,
        )

    def _concluded(self, ending: Ending, transcript: Transcript) -> Done:
        outputs = executing.reported(self.run, ending, handed_over(ending, self.spec))
        step = {"outputs": outputs, "text": transcript.said or ending.summary}
        return Done(fault(ending, self.spec), step, unwritten=transcript.write)

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


def agent_of(definition: Definition, agent_id: str) -> Agent:
    """The agent's row, or a stranger of the pipeline's own that has only a name."""
    return Agent.find(agent_id) or Agent(id=agent_id, name=definition.agent(agent_id).name)


def model_name(settings: Settings, run: Run, spec: StepSpec, agent: Agent) -> str:
    """Which model works: the run's, the step's, the agent's or the server's, in this order."""
    return str(run.model_override or spec.model or agent.model or settings.default_model)


def uses_files(definition: Definition) -> bool:
    """Whether any step may touch files; a pipeline without such a step keeps no workspace."""
    return any(
        step.output_schema is None and (step.tools is None or FILE_TOOLS & set(step.tools))
        for step in definition.steps
    )


def handed_over(ending: Ending, spec: StepSpec) -> dict[str, str]:
    """The step's outputs; the whole answer only where the pipeline asked for a structure."""
    if spec.output_schema is not None:
        return ending.outputs
    return {key: value for key, value in ending.outputs.items() if key != WHOLE}


def fault(ending: Ending, spec: StepSpec) -> str | None:
    """Why the step failed, None when it did not: said so, reported failure, or owes outputs."""
    if not ending.succeeded:
        return ending.error
    routed = {value.strip().lower() for value in spec.on_result}
    if ending.outputs.get("status", "").strip().lower() in FAILING - routed:
        said = ending.outputs.get("error") or ending.outputs.get("result")
        return said or "the agent reported that the step failed"
    missing = owed(ending.outputs, declared_outputs(spec))
    return f"missing required outputs: {', '.join(missing)}" if missing else None
