"""What the script can read in a conversation: which step it plays, of what, and how far it is."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from workers.llm.base import Message, Result

FINISH = "complete"
FIRST_LINE = re.compile(
    r"\ARun (?P<run>\S+) · step (?P<step>\S+) · visit (?P<visit>\d+) · retry (?P<retry>\d+)"
    r"(?: · execution (?P<execution>\d+))?"
)
SECTION = re.compile(r"^# (?P<title>.+)$", re.MULTILINE)
OUTPUT = re.compile(r"^- (?P<key>[\w.-]+)(?:: (?P<hint>.*))?$", re.MULTILINE)
ITEM = re.compile(r"^Item \d+ of \d+: (?P<item>.*)", re.MULTILINE)
LABEL = re.compile(
    r"(.*\b)?(project|task|assignment|request|feature|issue|asked)\b: (?P<about>.+)", re.I
)
DIRECTIVE = re.compile(
    r"^[ \t]*```scripted[ \t]*\n(?P<json>.*?)^[ \t]*```", re.MULTILINE | re.DOTALL
)
MISSING = re.compile(r"missing[^:\n]*: *(?P<keys>[\w., -]+)", re.IGNORECASE)


@dataclass(frozen=True)
class Scene:
    """The facts of one conversation; `outputs` maps each key to its hint.

    `turns` counts the answers given so far, `answered` says that tools have answered the last
    one, `missing` are outputs a refused `complete` was asked for, `refusals` counts how often it
    was called in vain, `said` is the newest message.
    Outside a pipeline step `step` is empty.
    """

    run: str = ""
    step: str = ""
    execution: int = 1
    task: str = ""
    item: str = ""
    outputs: Mapping[str, str] = field(default_factory=dict)
    turns: int = 0
    answered: bool = False
    missing: tuple[str, ...] = ()
    refusals: int = 0
    said: str = ""
    directives: tuple[str, ...] = ()


def scene_of(messages: Sequence[Message]) -> Scene:
    """Read the conversation; whatever is not there stays at its default."""
    users = [message.text for message in messages if message.role == "user"]
    opening = next((text for text in users if FIRST_LINE.match(text)), "")
    brief = opening or (users[-1] if users else "")
    system = "\n".join(message.text for message in messages if message.role == "system")
    shared: dict[str, Any] = {
        "turns": sum(message.role == "assistant" for message in messages),
        "answered": bool(messages) and messages[-1].role == "tool",
        "directives": tuple(found["json"] for found in DIRECTIVE.finditer(brief)),
        "said": DIRECTIVE.sub("", users[-1]).strip() if users else "",
    }
    found = FIRST_LINE.match(opening)
    if found is None:
        return Scene(**shared)
    plain = DIRECTIVE.sub("", opening)
    return Scene(
        run=found["run"],
        step=found["step"],
        execution=int(found["execution"] or int(found["visit"]) + int(found["retry"])),
        task=_task(_sections(plain)),
        item=_item(_sections(plain).get("Loop Context", "")),
        outputs=_outputs(_sections(system).get("FINISHING", "")),
        missing=_missing(messages),
        refusals=sum(call.name == FINISH for message in messages for call in message.calls),
        **shared,
    )


def _sections(text: str) -> dict[str, str]:
    """The sections under `# Title` lines by title; the first of a title counts."""
    marks = list(SECTION.finditer(text))
    ends = [*(mark.start() for mark in marks), len(text)]
    sections: dict[str, str] = {}
    for mark, end in zip(marks, ends[1:], strict=True):
        sections.setdefault(mark["title"].strip(), text[mark.end() : end].strip())
    return sections


def _task(sections: Mapping[str, str]) -> str:
    """What the run is about, in one line."""
    context = sections.get("Project Context", "")
    if context.startswith("The run's task: "):
        return context.removeprefix("The run's task: ").strip().partition("\n")[0]
    lines = [line.strip() for line in sections.get("Your Task", "").splitlines() if line.strip()]
    if not lines:
        return "the task"
    for line, after in pairwise([*lines[:4], ""]):
        labelled = LABEL.match(line)
        quoted = labelled["about"] if labelled else after if line.endswith(":") else ""
        if quoted and quoted[0] not in "[{-":
            return quoted
    return lines[1] if len(lines) > 1 and lines[0].endswith(".") else lines[0]


def _item(loop: str) -> str:
    """The title of the item a loop is at, or its text."""
    found = ITEM.search(loop)
    if found is None:
        return ""
    try:
        item = json.loads(found["item"])
    except ValueError:
        return found["item"]
    if isinstance(item, dict):
        named = (item.get(key) for key in ("title", "name", "description", "key", "id"))
        return str(next((name for name in named if name), found["item"]))
    return str(item)


def _outputs(finishing: str) -> dict[str, str]:
    listed = finishing.partition("Outputs to hand over:")[2]
    return {found["key"]: (found["hint"] or "").strip() for found in OUTPUT.finditer(listed)}


def _missing(messages: Sequence[Message]) -> tuple[str, ...]:
    """The outputs that were asked for when `complete` was refused."""
    completes = {call.id for message in messages for call in message.calls if call.name == FINISH}
    results = [part for message in messages for part in message.parts if isinstance(part, Result)]
    asked = [
        MISSING.search(result.text)
        for result in results
        if result.is_error and result.call_id in completes
    ]
    return tuple(key for found in asked if found for key in re.findall(r"[\w.-]+", found["keys"]))
