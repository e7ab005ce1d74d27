"""A tour through all tools on offer: look, make, check, mend, and hand over."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from models.agent_tools import PLANNING
from workers.llm.base import ToolSpec
from workers.llm.scripted.plays import Play
from workers.llm.scripted.shapes import instance
from workers.llm.scripted.words import Theme

Calls = tuple[tuple[str, str], ...]
ENDINGS = frozenset(
    {"complete", "fail", "executor_complete", "executor_fail", "onboarding_handoff"}
)
ATTEMPTS = 3  # to complete
# Which tools belong together in one reply, and what is said to it.
TURNS: Sequence[tuple[tuple[str, ...], str]] = (
    (("ls", "find"), "I look at what is there first."),
    (("write",), "Now I write down what this step is about."),
    (("read", "grep", "bash"), "I check what I wrote."),
    (("edit",), "It holds, so it is no draft any more."),
    (("get_my_projects",), "I look at the projects I work on."),
    (("spawn_executor",), "One part I give to somebody else."),
    (("swarm_execute",), "The rest goes to several at once."),
)


@dataclass(frozen=True)
class Turn:
    """One answer: a thought, words, and (name, JSON text) of the calls that go with it."""

    words: str = ""
    thought: str = ""
    calls: Calls = ()
    first: bool = False

    def saying(self, words: str) -> Turn:
        """The same turn with other words."""
        return replace(self, words=words)


def tour(theme: Theme, play: Play, tools: Sequence[ToolSpec]) -> list[Turn]:
    """Every answer before the last one."""
    if play.fail is not None or not play.tools:
        return []
    if play.calls:
        return [Turn("I do as the script says.", calls=play.calls, first=True)]
    offered = {tool.name: tool for tool in tools if tool.name not in ENDINGS}
    turns = [turn for turn in _turns(theme, offered) if turn.calls]
    if turns:
        step = theme.scene.step
        thought = f"Step {step}: {theme.subject}. I look, make, check, mend and hand over."
        turns[0] = replace(turns[0], thought=thought, first=True)
    return turns


def _turns(theme: Theme, offered: Mapping[str, ToolSpec]) -> Iterator[Turn]:
    known = {name for names, _ in TURNS for name in names}
    for names, words in TURNS:
        calls = [
            (name, _arguments(offered[name], told, theme))
            for name in names
            if name in offered
            for told in _told(name, theme)
        ]
        yield Turn(words, calls=tuple(calls))
    on_order = known | set(PLANNING)  # what changes boards is called only where a play says so
    others = [tool for name, tool in offered.items() if name not in on_order]
    calls = [(tool.name, _arguments(tool, {}, theme)) for tool in others]
    yield Turn("And I try what else I was given.", calls=tuple(calls))


def _told(name: str, theme: Theme) -> list[dict[str, Any]]:
    """What each call of a tool we know is told."""
    files = theme.files()
    path = next(iter(files))
    draft = re.search(r"^(STATUS|Status).*draft.*$", files[path], re.MULTILINE)
    line = draft[0] if draft else ""
    told: dict[str, list[dict[str, Any]]] = {
        "ls": [{"path": "."}],
        "find": [{"pattern": f"*{path[path.rindex('.') :]}"}],
        "write": [{"path": name, "content": content} for name, content in files.items()],
        "read": [{"path": path}],
        "grep": [{"pattern": "scripted/demo", "path": path.partition("/")[0]}],
        "bash": [{"command": f"wc -c {path}"}],
        "edit": [{"path": path, "old_text": line, "new_text": line.replace("draft", "checked")}],
        "get_my_projects": [{}],
        "spawn_executor": [_order(theme, "a sketch of")],
        "swarm_execute": [{"tasks": _swarm(theme)}],
    }
    return told[name]


def _order(theme: Theme, part: str) -> dict[str, Any]:
    prompt = f"Make {part} {theme.subject}"
    return {"project_id": "demo", "task_id": theme.slug[:64], "execution_prompt": prompt}


def _swarm(theme: Theme) -> list[dict[str, Any]]:
    """Two tasks side by side, and one that needs both."""
    parts = {"front": "the front of", "back": "the back of", "whole": "a whole of"}
    return [
        {
            **_order(theme, part),
            "key": key,
            "title": f"Make {part} {theme.subject}",
            "dependencies": ["front", "back"] if key == "whole" else [],
        }
        for key, part in parts.items()
    ]


def _arguments(tool: ToolSpec, told: Mapping[str, Any], theme: Theme) -> str:
    """What we know how to say, and something valid for whatever else is required."""
    properties = tool.parameters.get("properties", {})
    arguments = {key: value for key, value in told.items() if key in properties}
    if set(tool.parameters.get("required", ())) - arguments.keys():
        made = instance({**tool.parameters, "required": tool.parameters["required"]}, theme)
        arguments = {**made, **arguments}
    return json.dumps(arguments, ensure_ascii=False)


def finale(theme: Theme, play: Play, tools: Sequence[ToolSpec]) -> Turn:
    """The last answer: the tool that ends the step, or the outputs as text where none does."""
    first = not theme.scene.turns
    offered = {tool.name for tool in tools}
    reason = _reason_to_fail(theme, play)
    failing = next((name for name in ("fail", "executor_fail") if name in offered), None)
    if reason is not None and failing:
        return Turn("This cannot be done.", calls=(_called(failing, error=reason),), first=first)
    summary = f"{theme.scene.step} is done: {theme.subject}."
    if "executor_complete" in offered:
        report = _overridden({"status": "success", "summary": summary}, play.outputs)
        call = _called("executor_complete", **report)
        return Turn("The order is carried out; I report.", calls=(call,), first=first)
    outputs = _overridden(theme.outputs(), play.outputs)
    if "complete" not in offered:
        lines = [f"{key}: {_indented(value)}" for key, value in outputs.items()]
        return Turn("\n".join(lines) or f"Done: {theme.subject}.", first=first)
    call = _called("complete", outputs=outputs, summary=summary)
    return Turn("All is checked; I hand over.", calls=(call,), first=first)


def _called(name: str, **arguments: Any) -> tuple[str, str]:
    return name, json.dumps(arguments, ensure_ascii=False)


def _reason_to_fail(theme: Theme, play: Play) -> str | None:
    """Told to; or held up by outputs that were left out on purpose, or by nothing we know."""
    if play.fail is not None:
        return play.fail
    withheld = [key for key, value in play.outputs.items() if value is None]
    if theme.scene.refusals and withheld:
        return f"missing required outputs: {', '.join(withheld)}"
    if theme.scene.refusals >= ATTEMPTS:
        return "complete was refused again and again"
    return None


def _overridden(outputs: Mapping[str, str], told: Mapping[str, Any]) -> dict[str, str]:
    values = {
        key: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        for key, value in told.items()
        if value is not None
    }
    kept = {key: value for key, value in outputs.items() if key not in told}
    return {**kept, **values}


def _indented(value: str) -> str:
    return value.replace("\n", "\n  ")
