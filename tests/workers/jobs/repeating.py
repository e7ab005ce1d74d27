"""What a replay is compared with, whom it turns to, and pipelines to replay."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from models import events, invariants, runs
from models.llm_calls import LlmCall
from models.principals import Principal
from models.runs import Run
from models.steps import Step

ANNA = Principal("usr_anna", "user")
TWICE = [{"outputs": {"validation_result": "FAIL"}}, {"outputs": {"validation_result": "PASS"}}]
ONE = """
id: one
name: one
agents: [{id: yukihiro, name: Yukihiro}]
steps:
  - {id: DO, agent: yukihiro, input: "Do it", outputs: [answer], maxRetries: 1}
"""
MORE = '  - {id: MORE, agent: yukihiro, input: "More", outputs: [more]}\n'


def of(run: Run) -> Run:
    return Run.get_by_id(run.id)


KEPT = ("step_id", "agent_id", "visit", "retry", "execution", "inputs", "loop", "feedback")
CAME = ("state", "outputs", "text", "error", "final", "commit", "model_used")


def story(run: Run) -> list[dict[str, Any]]:
    """Everything that executions were told and came to."""
    return [{name: getattr(step, name) for name in (*KEPT, *CAME)} for step in Step.of(of(run))]


def same(replay_run: Run, source: Run) -> None:
    """The replay came to what its source came to, step by step, for nothing."""
    source = of(source)
    assert replay_run.error == source.error
    assert replay_run.state == source.state
    assert replay_run.outputs == source.outputs
    assert replay_run.workspace_commit == source.workspace_commit
    assert story(replay_run) == story(source)
    assert (replay_run.kind, replay_run.origin_id) == (runs.REPLAY, source.id)
    assert LlmCall.select().where(LlmCall.run_id == replay_run.id).count() == 0
    assert said(replay_run) == said(source)
    assert invariants.breaches(0) == []


TOLD = ("turn_end", "tool_call_start", "tool_call_end", "context_compacted", "step_complete")


def said(run: Run) -> list[tuple[str, Any]]:
    """What was said and done, as the streams tell it."""
    names = ("stepId", "text", "toolName", "args", "result", "outputs")
    happened = [event for event in events.after(run.id, 0, 100_000) if event.type in TOLD]
    told = [(event.type, [event.data.get(name) for name in names]) for event in happened]
    # who waits for others begins the same call again when they are done
    return [one for one, before in zip(told, [None, *told], strict=False) if one != before]


@dataclass
class Contacts:
    """Whom this process has turned to: by a socket of Python's, or by a program it has started."""

    addresses: set[Any] = field(default_factory=set)
    names: set[Any] = field(default_factory=set)  # that were looked up
    programs: list[Any] = field(default_factory=list)

    def hear(self, event: str, told: tuple[Any, ...]) -> None:
        if event in CONNECTING and told[1] is not None:
            self.addresses.add(told[1])
        elif event in LOOKING_UP:
            self.names.add(told[0])
        elif event in STARTING:
            self.programs.append(told)


CONNECTING = {"socket.connect", "socket.sendto", "socket.sendmsg"}
LOOKING_UP = {"socket.getaddrinfo", "socket.gethostbyname"}
STARTING = {"subprocess.Popen", "os.posix_spawn", "os.exec", "os.fork", "os.system"}
LISTENING: list[Contacts] = []


@contextmanager
def overheard() -> Iterator[Contacts]:
    """Notes whom this process turns to while the block lasts."""
    _listen()
    LISTENING.append(Contacts())
    try:
        yield LISTENING[-1]
    finally:
        LISTENING.pop()


@cache
def _listen() -> None:
    """Have Python tell what happens; that it does cannot be undone, only not be heeded."""
    sys.addaudithook(_tell)


def _tell(event: str, told: tuple[Any, ...]) -> None:
    for each in LISTENING:
        each.hear(event, told)
