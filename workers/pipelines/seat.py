"""What a step asks of whoever works on it: what it may take, how it talks, what its end means."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

from models import agent_tools, skills
from models.agent_tools import LIFECYCLE
from models.agents import Agent
from models.config import Settings
from models.definitions import Definition, StepSpec
from models.insisting import insist
from models.pipelines import definition_of
from models.runs import OPEN_ENDED, Run
from models.steps import Step
from workers.agents.answering import answer_in_shape
from workers.agents.events import Ending, Limits, Talk
from workers.agents.finishing import WHOLE, owed
from workers.agents.handover import declared_outputs, shape_for
from workers.agents.loop import Tools, converse
from workers.halting import Halt
from workers.llm.base import Message, Model
from workers.pipelines import executing

FAILING = frozenset({"fail", "failed", "error"})


@dataclass(frozen=True)
class Done:
    """What a sitting came to; `step` and `run` hold columns to write, `error` is None when good.

    `after` is None when the step is over, else the seconds in which the same can go on.
    `unwritten` writes what the record still owes; it belongs into the transaction that settles.
    """

    error: str | None = None
    step: dict[str, Any] = field(default_factory=dict)
    run: dict[str, Any] = field(default_factory=dict)
    unwritten: Callable[[Run], None] = lambda run: None
    after: float | None = None


class Seat:
    """One execution of a step as its pipeline and its agent define it."""

    def __init__(self, settings: Settings, run: Run, step: Step) -> None:
        self.settings = settings
        self.run = run
        self.step = step
        self.definition: Definition = definition_of(run.version_id)
        self.spec: StepSpec = self.definition.step(step.step_id)
        self.agent: Agent = agent_of(self.definition, step.agent_id)

    def _equipped(self, model: Model) -> bool:
        """Whether the agent gets tools; else it is to answer in a given shape."""
        return not self._structured and not model.small and uses_files(self.definition)

    def _withheld(self) -> Collection[str]:
        """The tools that the agent may not use at this moment."""
        return insist(lambda: agent_tools.disabled(self.agent.id))

    def _skills(self, tools: Collection[str]) -> str:
        """What a prompt says of the skills that the agent may load with these tools."""
        if "load_skill" not in tools:
            return ""
        return insist(lambda: skills.told(skills.manifest(self.agent.id)))

    @property
    def _structured(self) -> bool:
        return self.spec.output_schema is not None

    def _talk(
        self, model: Model, toolbox: Tools | None, messages: Sequence[Message], halt: Halt
    ) -> Talk[Ending]:
        limits = self._limits()
        if toolbox is not None:
            return converse(model, toolbox, messages, limits, halt)
        shape = shape_for(self.spec, self.definition, model.small)
        return answer_in_shape(model, shape, messages, limits, halt)

    def _limits(self) -> Limits:
        return Limits(
            max_turns=self.spec.max_turns,
            max_output_tokens=self.spec.max_output_tokens,
            temperature=self.spec.temperature if self._structured else None,
            thinking_level=self._thinking_level or self.settings.thinking_level,
            declared=declared_outputs(self.spec),
            silence=self.settings.model_silence,
            open_ended=self.run.kind in OPEN_ENDED,
        )

    @property
    def _thinking_level(self) -> str | None:
        """How much the step or its agent has the model think; None leaves it to the server."""
        return self.spec.thinking_level or self.agent.config.get("thinking_level")

    @property
    def _allowed(self) -> Collection[str] | None:
        """The tools that may be offered; None for all that need not be named."""
        return self.spec.tools

    def _concluded(self, ending: Ending, said: str, unwritten: Callable[[Run], None]) -> Done:
        """What the ending means for the step; `said` are the model's last words."""
        outputs = executing.reported(self.run, ending, handed_over(ending, self.spec))
        step = {"outputs": outputs, "text": said or ending.summary}
        return Done(fault(ending, self.spec), step, unwritten=unwritten)


def agent_of(definition: Definition, agent_id: str) -> Agent:
    """The agent's row, or a stranger of the pipeline's own that has only a name."""
    return Agent.find(agent_id) or Agent(id=agent_id, name=definition.agent(agent_id).name)


def model_name(settings: Settings, run: Run, spec: StepSpec, agent: Agent) -> str:
    """Which model works: the run's, the step's, the agent's or the server's, in this order."""
    usual = (run.ordered and settings.executor_model) or settings.default_model
    return str(run.model_override or spec.model or agent.model or usual)


def uses_files(definition: Definition) -> bool:
    """Whether any step has tools besides its endings; without one a run keeps no workspace."""
    return any(
        step.output_schema is None and (step.tools is None or set(step.tools) - LIFECYCLE)
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
