"""The agents and pipelines of the load, written as a library folder that `djinn` loads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.processes.chaos.model import NAME

THINK, DO, PLAY, SWARM = "think", "do", "play", "swarm"
LONGEST = {THINK: 5, DO: 3, PLAY: 3}  # steps
PAIR = "pair"
SHAPES = {  # of swarms: what each task depends on
    PAIR: {"A": [], "B": []},
    "chain": {"A": [], "B": ["A"]},
    "diamond": {"A": [], "B": ["A"], "C": ["A"], "D": ["B", "C"]},
}
HEAD = """
id: {kind}-{count}
name: {kind}-{count}
defaults: {{timeout: 120, maxRetries: 3}}
agents: [{{id: thinker, name: Thinker}}, {{id: doer, name: Doer}}]
steps:
"""
STEPS = {
    THINK: """
  - id: S{number}
    agent: thinker
    model: {model}
    input: "Think about it: {{{{task_description}}}}"
    outputSchema:
      name: thought
      schema:
        type: object
        properties: {{summary: {{type: string}}}}
        required: [summary]
        additionalProperties: false
""",
    DO: """
  - id: S{number}
    agent: doer
    model: {model}
    input: "Do it: {{{{task_description}}}}"
    outputs: [summary]
    tools: [write, bash]
""",
    PLAY: """
  - id: S{number}
    agent: thinker
    model: scripted/demo
    input: "Play it: {{{{task_description}}}}"
    outputs: [summary]
    tools: [write, read]
""",
}
IDENTITY = "# {name}\n\nOne of the agents that work while everything around them breaks.\n"
CONFIG = "max_concurrent_steps: 1000\nnetwork: {network}\n"


def write(folder: Path) -> None:
    """Put the library into `folder`."""
    for name, network in (("thinker", "false"), ("doer", "true")):
        agent = folder / "agents" / name
        agent.mkdir(parents=True)
        (agent / "IDENTITY.md").write_text(IDENTITY.format(name=name.title()))
        (agent / "config.yml").write_text(CONFIG.format(network=network))
    (folder / "pipelines").mkdir()
    for kind, longest in LONGEST.items():
        for count in range(1, longest + 1):
            (folder / "pipelines" / f"{kind}-{count}.yml").write_text(pipeline(kind, count))


def swarm(shape: str, marker: str) -> dict[str, Any]:
    """A request for a swarm of executors that act on the world outside.

    Those of a `pair` work for one task of the board, so their branches are merged; `task_id` is
    the title of the task until there is one.
    """
    tasks = [
        {
            "key": key,
            "title": f"{key} of {marker}",
            "task_id": f"{'both' if shape == PAIR else key} of {marker}",
            "execution_prompt": f"Do it: {marker}",
            "dependencies": dependencies,
            "model": NAME,
            "timeout_seconds": 300,
        }
        for key, dependencies in SHAPES[shape].items()
    ]
    return {"agent_id": "doer", "tasks": tasks, "max_concurrent": 2}


def pipeline(kind: str, count: int) -> str:
    """So many steps of a kind, one after the other."""
    text = HEAD.format(kind=kind, count=count)
    for number in range(1, count + 1):
        text += STEPS[kind].format(number=number, model=NAME)
        if number < count:
            text += f"    onComplete: S{number + 1}\n"
    return text
