"""One sitting of an agent at a step: workspace, prompt, model and tools, until it is done."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from models.agents import Agent
from models.blobs import Blobs
from models.config import Settings
from models.definitions import Definition, StepSpec
from models.logs import log
from models.pipelines import definition_of
from models.runs import Run
from models.sessions import Session
from models.steps import Step
from workers import sandboxes
from workers.agents.answering import answer_in_shape
from workers.agents.events import Ending, Event, Limits
from workers.agents.finishing import WHOLE, owed
from workers.agents.handover import declared_outputs, shape_for
from workers.agents.loop import converse
from workers.agents.prompts import Brief, assemble
from workers.agents.tools import Toolbox
from workers.agents.tools.base import Bench
from workers.agents.tools.tree import Tree
from workers.agents.transcript import Transcript
from workers.halting import Halt
from workers.llm import open_model
from workers.llm.base import Message, Model
from workers.pipelines import progress, templates
from workers.pipelines.decisions import LoopView
from workers.sandboxes.base import Engine, Spec
from workers.workspaces import Saved, Workspace, open_workspace

FILE_TOOLS = frozenset({"read", "write", "edit", "bash", "grep", "find", "ls"})
UNCONFINED = "SANDBOX=unsafe-local: this agent's commands run unconfined, with the worker's rights"
FAILING = frozenset({"fail", "failed", "error"})


@dataclass(frozen=True)
class Done:
    """What a sitting came to; `step` and `run` hold columns to write, `error` is None when good."""

    error: str | None = None
    step: dict[str, Any] = field(default_factory=dict)
    run: dict[str, Any] = field(default_factory=dict)


class Sitting:
    """Everything one execution of a step needs; `work` does it."""

    def __init__(self, settings: Settings, run: Run, step: Step) -> None:
        self.settings = settings
        self.run = run
        self.step = step
        self.definition: Definition = definition_of(run.version_id)
        self.spec: StepSpec = self.definition.step(step.step_id)
        self.agent: Agent = agent_of(self.definition, step.agent_id)
        self.loop = LoopView(**step.loop) if step.loop else None
        self.unconfined = False

    def work(self, halt: Halt) -> Done:
        """Let the agent work; raises Stopped, DeadlinePassed, ModelError and WorkspaceError."""
        model = self._model()
        with ExitStack() as opened:
            workspace = self._workspace(opened)
            transcript = Transcript(self.run, self.step, model, self.settings.redis_url)
            with ExitStack() as confined:  # no command may live on while the files are committed
                messages, events = self._conversation(model, workspace, confined, halt)
                self._begin(messages)
                if self.unconfined:
                    transcript.warn(UNCONFINED)
                ending = transcript.follow(events)
            halt.check()
            return self._concluded(ending, transcript.said, workspace)

    def _model(self) -> Model:
        name = model_name(self.settings, self.run, self.spec, self.agent)
        return open_model(name, self.settings.providers, self.settings.local_model_url)

    def _workspace(self, opened: ExitStack) -> Workspace | None:
        """The run's files as the last finished step left them; None when no step uses any."""
        if not uses_files(self.definition):
            return None
        commit, snapshot = self.run.workspace_commit, self.run.workspace_snapshot
        saved = Saved(commit, snapshot) if commit and snapshot else None
        root, blobs = self.settings.data / "workspaces", Blobs(self.settings.blob_url)
        return opened.enter_context(open_workspace(root, self.run.id, saved, blobs))

    def _conversation(
        self, model: Model, workspace: Workspace | None, opened: ExitStack, halt: Halt
    ) -> tuple[tuple[Message, Message], Generator[Event, None, Ending]]:
        """The opening messages and the conversation they start."""
        structured = self.spec.output_schema is not None
        if structured or model.small or workspace is None:
            messages = assemble(self._brief(model, workspace, ()))
            limits = self._limits(structured)
            shape = shape_for(self.spec, self.definition, model.small)
            return messages, answer_in_shape(model, shape, messages, limits, halt)
        toolbox = Toolbox(self._bench(workspace, opened), self.spec.tools)
        tools = tuple(spec.name for spec in toolbox.specs)
        messages = assemble(self._brief(model, workspace, tools))
        return messages, converse(model, toolbox, messages, self._limits(structured), halt)

    def _bench(self, workspace: Workspace, opened: ExitStack) -> Bench:
        """A workbench whose commands run confined; they end with the step."""
        engine = Engine(self.settings.docker_host, self.settings.sandbox_image)
        backend = sandboxes.choose(self.settings.sandbox, engine)
        self.unconfined = not backend.confines
        network = bool(self.agent.config.get("network", False))
        spec = Spec(workspace.tree, workspace.git_dir, network=network)
        sandbox = opened.enter_context(backend.open(spec))
        return Bench(Tree(workspace.tree), sandbox, declared_outputs(self.spec))

    def _brief(self, model: Model, workspace: Workspace | None, tools: tuple[str, ...]) -> Brief:
        return Brief(
            run_id=self.run.id,
            step=self.spec,
            definition=self.definition,
            task=self.run.task,
            input=self._input(),
            files=self.agent.files,
            outputs=self.step.inputs,
            feedback=tuple(self.step.feedback),
            human_note="\n\n".join(filter(None, [self._note(), self.step.human_context])),
            loop=self.loop,
            git_log=tuple(workspace.log()) if workspace else (),
            progress=progress.read(workspace.tree) if workspace else "",
            visit=self.step.visit,
            retry=self.step.retry,
            execution=self.step.execution,
            tools=tools,
            small=model.small,
        )

    def _note(self) -> str:
        """What a person said with the request, unless the template or a machine uses it."""
        note = self.run.human_context or ""
        used = templates.context_fields(note) or "human_context" in self.spec.input
        return "" if used else note

    def _input(self) -> str:
        facts = templates.Facts(
            task=self.run.task,
            run_id=self.run.id,
            step_id=self.spec.id,
            agent_id=self.spec.agent,
            execution=self.step.execution,
            human_context=self.run.human_context or "",
            feedback=tuple(self.step.feedback),
            outputs=self.step.inputs,
            loop=self.loop,
            project={
                "project_id": self.run.project_id or "",
                "project_name": self.run.project_name or "",
            },
        )
        values = templates.variables(facts)
        if unknown := set(templates.unknown_names(self.spec.input, values)) - self._promised():
            log.warning("nothing defines these names", step=self.spec.id, names=sorted(unknown))
        return templates.render(self.spec.input, values)

    def _promised(self) -> set[str]:
        """The outputs that some step of the pipeline hands over, if perhaps not yet."""
        return {key for step in self.definition.steps for key in declared_outputs(step)}

    def _limits(self, structured: bool) -> Limits:
        level = self.spec.thinking_level or self.agent.config.get("thinking_level") or "off"
        return Limits(
            max_turns=self.spec.max_turns,
            max_output_tokens=self.spec.max_output_tokens,
            temperature=self.spec.temperature if structured else None,
            thinking_level=level,
            declared=declared_outputs(self.spec),
            silence=self.settings.model_silence,
        )

    def _begin(self, messages: tuple[Message, Message]) -> None:
        Session(id=self.step.session_id).put(user_prompt=messages[1].text)

    def _concluded(self, ending: Ending, text: str, workspace: Workspace | None) -> Done:
        error = fault(ending, self.spec)
        outputs = handed_over(ending, self.spec)
        step = {"outputs": outputs, "text": text or ending.summary}
        if error is not None or workspace is None:
            return Done(error, step=step)
        summary = ending.summary or next(iter(outputs.values()), "")
        progress.append(workspace.tree, self.step, summary)
        message = progress.commit_message(self.step, summary)
        commit = workspace.commit(message, self.agent.name, self.step.id)
        snapshot = workspace.snapshot(Blobs(self.settings.blob_url))
        run = {"workspace_commit": commit, "workspace_snapshot": snapshot}
        return Done(step={**step, "commit": commit}, run=run)


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
