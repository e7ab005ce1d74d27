"""What a pipeline says: plain frozen values, made by `models.grammar`, pinned on every run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True)
class Notify:
    agent: str
    message: str


@dataclass(frozen=True)
class Action:
    """What a matched result value does; `goto`, `retry` and `continue_loop` exclude each other."""

    goto: str | None = None
    continue_loop: bool = False
    retry: bool = False
    max_retries: int | None = None
    notify: Notify | None = None


@dataclass(frozen=True)
class Loop:
    """Repeat the step for each item of the JSON array in output `over`."""

    over: str
    on_each_complete: str | None = None
    on_all_complete: str | None = None
    on_item_fail: Literal["fail", "continue"] = "fail"


@dataclass(frozen=True)
class OutputSchema:
    name: str
    schema: dict[str, Any]
    strict: bool = True
    method: Literal["response_format", "tool_use"] = "response_format"


@dataclass(frozen=True)
class StepSpec:
    """One step with every default of the pipeline already applied. Times are seconds.

    `tools` is None when nothing restricts them; `model` None means the agent's own, `timeout` None
    the server's.
    """

    id: str
    agent: str
    input: str
    description: str = ""
    outputs: tuple[str, ...] = ()
    on_complete: str | None = None
    on_result: Mapping[str, Action] = field(default_factory=dict)
    on_failure: str | None = None
    loop: Loop | None = None
    model: str | None = None
    tools: tuple[str, ...] | None = None
    max_retries: int = 3
    timeout: int | None = None
    max_turns: int = 999
    max_output_tokens: int = 32_768
    temperature: float = 0.7
    thinking_level: str | None = None
    output_schema: OutputSchema | None = None

    @property
    def result_key(self) -> str | None:
        """The output that is expected to carry one of the values of `on_result`."""
        if not self.on_result:
            return None
        words = ("result", "verdict", "decision", "status")
        named = (key for word in words for key in self.outputs if word in key)
        return next(named, self.outputs[-1] if self.outputs else "result")


@dataclass(frozen=True)
class AgentSpec:
    """An agent as the pipeline knows it; `id` names a row of the library."""

    id: str
    name: str
    persona: str | None = None
    model: str | None = None
    tools: tuple[str, ...] | None = None
    thinking_level: str | None = None


@dataclass(frozen=True)
class Definition:
    """A whole pipeline, valid by construction."""

    id: str
    name: str
    version: str
    description: str
    agents: tuple[AgentSpec, ...]
    steps: tuple[StepSpec, ...]

    def step(self, step_id: str) -> StepSpec:
        """The step with that id; KeyError when there is none."""
        for step in self.steps:
            if step.id == step_id:
                return step
        raise KeyError(step_id)

    def agent(self, agent_id: str) -> AgentSpec:
        """The agent with that id; KeyError when there is none."""
        for agent in self.agents:
            if agent.id == agent_id:
                return agent
        raise KeyError(agent_id)
