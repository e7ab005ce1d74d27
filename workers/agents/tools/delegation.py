"""Having others do the work: one executor, or a swarm of them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, NoReturn

from models import branches, dag
from workers.agents.tools.base import Awaited, Bench, Tool, ToolError, described, number, text
from workers.halting import Halt

LABEL = {"minLength": 1, "maxLength": 128}
MODEL = {"maxLength": 256}
SECONDS = {"minimum": 30, "maximum": 600}
PROMPT = text(
    "The whole order: what to do, where, and how to tell that it is done. The executor knows"
    " nothing else of your work",
    minLength=1,
)
RULES = text("Rules for when an executor may leave its order, beyond the usual ones", default="")
PROJECT = text("The project it belongs to", **LABEL)
TASK = text("The task it works on", **LABEL)


@dataclass(frozen=True)
class _Planned:
    key: str
    dependencies: tuple[str, ...]


def spawn_executor(bench: Bench, arguments: dict[str, Any], halt: Halt) -> NoReturn:
    """Wait for one executor."""
    raise Awaited("executor", arguments)


def swarm_execute(bench: Bench, arguments: dict[str, Any], halt: Halt) -> NoReturn:
    """Wait for a swarm; a ToolError when its tasks cannot be done in any order."""
    planned = [
        _Planned(each["key"], tuple(each.get("dependencies", ()))) for each in arguments["tasks"]
    ]
    hostile = [each.key for each in planned if not re.match(branches.KEY, each.key)]
    if hostile:
        raise ToolError(f"{hostile[0]!r} cannot be a key: {branches.KEY_IN_WORDS}")
    if problems := dag.problems(planned):
        raise ToolError(f"Invalid DAG: {'; '.join(each.message for each in problems)}")
    raise Awaited("swarm", arguments)


TOOLS = (
    Tool(
        described(
            "spawn_executor",
            "Have one executor carry out an order in files of its own, and wait for its report:"
            " status, outputs, error, branch.",
            execution_prompt=PROMPT,
            project_id=PROJECT,
            task_id=TASK,
            deviation_rules=RULES,
            model_override=text("The model it works with; empty for its own", default="", **MODEL),
            timeout_seconds=number("Seconds it may take", 300, **SECONDS),
        ),
        spawn_executor,
        effect="delegation",
    ),
    Tool(
        described(
            "swarm_execute",
            "Have several executors carry out tasks that may depend on each other, those that can"
            " at the same time, and wait for all of them. A task begins with the files that its"
            " dependencies left. You get each task's status, outputs and error, those that were"
            " skipped because a dependency failed, and what became of the branches.",
            tasks={
                "type": "array",
                "minItems": 1,
                "maxItems": 20,
                "items": {
                    "type": "object",
                    "properties": {
                        "key": text(
                            f"A short name of its own: {branches.KEY_IN_WORDS}",
                            pattern="^[A-Za-z0-9_.-]{1,64}$",  # the rest providers may not read
                        ),
                        "title": text("What it is, in a line", minLength=1, maxLength=500),
                        "project_id": PROJECT,
                        "task_id": TASK,
                        "execution_prompt": PROMPT,
                        "dependencies": {
                            "type": "array",
                            "items": {"type": "string"},
                            "uniqueItems": True,
                            "description": "The keys of the tasks that must be done before",
                        },
                        "model": text("The model it works with", **MODEL),
                        "timeout_seconds": {
                            "type": "integer",
                            "description": "Seconds it may take, 300 unless said",
                            **SECONDS,
                        },
                    },
                    "required": ["key", "title", "project_id", "task_id", "execution_prompt"],
                },
                "description": "The tasks",
            },
            max_concurrent=number("How many work at the same time", 3, maximum=8),
            deviation_rules=RULES,
            global_timeout_seconds=number(
                "Seconds all of it may take", 1800, minimum=60, maximum=3600
            ),
        ),
        swarm_execute,
        effect="delegation",
    ),
)
