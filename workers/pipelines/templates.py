"""Filling in a step's `input`: names and conditionals, one pass, nothing that could be run.

`{{ name }}` is the variable's value, "" when there is none. `{% if name %} .. {% else %} .. {%
endif %}` keeps the first part when the variable says something. Values are never looked into
again, conditionals do not nest, and what fits neither form stays as it is written.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from workers.pipelines.decisions import LoopView
from workers.pipelines.loops import as_json

NAME = re.compile(r"\{\{[ \t]*+([A-Za-z0-9_]++)[ \t]*+\}\}")
TAG = re.compile(r"(\{%\s*+(?:if\s++[A-Za-z0-9_]++|else|endif)\s*+%\})")

PROJECT_NAMES = ("project_id", "project_name", "project_vision", "additional_context")


@dataclass(frozen=True)
class Facts:
    """What a template may name. `execution` counts the executions of the step from 1.

    `project` holds what is known of PROJECT_NAMES from outside the run's context.
    """

    task: str
    run_id: str
    step_id: str
    agent_id: str
    execution: int = 1
    human_context: str = ""
    feedback: tuple[str, ...] = ()
    outputs: Mapping[str, str] = field(default_factory=dict)
    loop: LoopView | None = None
    project: Mapping[str, str] = field(default_factory=dict)


def variables(facts: Facts) -> dict[str, str]:
    """Every variable by name; where several say one, the more specific wins.

    From weak to strong: text fields of a human context that is a JSON object, the project, outputs
    of earlier steps, the run and the step themselves, the loop.
    """
    known = {name: value for name, value in facts.project.items() if value.strip()}
    return {
        **dict.fromkeys(PROJECT_NAMES, ""),
        "progress_file": "",
        **context_fields(facts.human_context),
        **known,
        **facts.outputs,
        "task_description": facts.task,
        "human_context": facts.human_context,
        "run_id": facts.run_id,
        "step_id": facts.step_id,
        "agent_id": facts.agent_id,
        "attempt": str(facts.execution),
        "retry_feedback": "\n".join(facts.feedback),
        **loop_variables(facts.loop),
    }


def context_fields(human_context: str) -> dict[str, str]:
    """The text fields of a context that machines wrote as a JSON object; none of any other."""
    if not human_context.lstrip().startswith("{"):
        return {}
    try:
        context = json.loads(human_context)
    except (ValueError, RecursionError):
        return {}  # a person may well begin a sentence with a brace
    return {key: value for key, value in context.items() if isinstance(value, str)}


def loop_variables(loop: LoopView | None) -> dict[str, str]:
    """`loop_index` counts from 1, as a person would say it."""
    if loop is None:
        return {}
    return {
        "current_item": loop.item,
        "completed_items": as_json(list(loop.completed)),
        "loop_index": str(loop.index + 1),
        "loop_total": str(loop.total),
    }


def render(template: str, values: Mapping[str, str]) -> str:
    """The template with its conditionals decided and its names filled in."""
    kept = "".join(decided(TAG.split(template), values))
    return NAME.sub(lambda name: values.get(name[1], ""), kept)


def unknown_names(template: str, values: Mapping[str, str]) -> list[str]:
    """The names a template asks for that nothing defines, each once, in order."""
    asked = NAME.findall(template)
    return [name for name in dict.fromkeys(asked) if name not in values]


def decided(pieces: list[str], values: Mapping[str, str]) -> list[str]:
    """The pieces of template that conditionals keep; odd positions hold tags."""
    words = [tag_words(piece) if at % 2 else [] for at, piece in enumerate(pieces)]
    last_end = max((at for at, word in enumerate(words) if word == ["endif"]), default=-1)
    kept: list[str] = []
    inside: bool | None = None  # None outside any conditional, else whether the part is kept
    for at, (piece, word) in enumerate(zip(pieces, words, strict=True)):
        if inside is None and len(word) == 2 and at < last_end:
            inside = bool(values.get(word[1], "").strip())
        elif inside is not None and word == ["else"]:
            inside = not inside
        elif inside is not None and word == ["endif"]:
            inside = None
        elif inside is not False:
            kept.append(piece)
    return kept


def tag_words(tag: str) -> list[str]:
    return tag[2:-2].split()
