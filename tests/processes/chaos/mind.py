"""What the agents of the load do: a pure function of the conversation, so that it can be checked.

An agent of a `TOOLS` step makes its acts one after the other, each a request to the sink that names
run, step and number, and then hands over. When it is not told that an act succeeded it looks
whether the sink knows of it, as a careful agent would, and repeats it only if not.
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.servers.provider import Answer

FIRST_LINE = re.compile(
    r"Run (?P<run>\S+) · step (?P<step>\S+) · visit (?P<visit>\d+) · retry (?P<retry>\d+)"
    r" · execution (?P<execution>\d+)"
)
MARKER = re.compile(r"chaos-\d{6}-\d+")
ATTEMPT = re.compile(r"chaos-attempt=(\d+)")
ACT = re.compile(r"POST /act/(\S+) HTTP")
KILLS_ITS_WORKER = "chaos-poison"
COUNTED = "counted"
REPORT = "executor_complete"
MOST_ACTS = 3


@dataclass(frozen=True)
class Scene:
    """Which execution of which step asks, and for which time; `key` names the call."""

    run: str
    attempt: int
    step: str
    visit: int
    retry: int
    execution: int
    turn: int
    marker: str
    poison: bool

    @property
    def sitting(self) -> str:
        """The execution of the step, as one word."""
        numbers = f"{self.attempt}.{self.visit}.{self.retry}.{self.execution}"
        return f"{self.run}:{self.step}:{numbers}"

    @property
    def place(self) -> tuple[str, int, str, int, int, int]:
        """Where the execution is found among the steps."""
        return self.run, self.attempt, self.step, self.visit, self.retry, self.execution

    @property
    def key(self) -> str:
        return f"{self.sitting}:{self.turn}"


@dataclass(frozen=True)
class Settled:
    """An act an agent has called: its key and what the platform answered."""

    key: str
    answer: str


def scene_of(body: Mapping[str, Any]) -> Scene | None:
    """Read a request; None when it does not come from a step."""
    messages = body["messages"]
    brief = next((_text(m) for m in messages if m["role"] == "user"), "")
    found = FIRST_LINE.search(brief)
    if found is None:
        return None
    attempt, marker = ATTEMPT.search(brief), MARKER.search(brief)
    return Scene(
        run=found["run"],
        attempt=int(attempt[1]) if attempt else 1,
        step=found["step"],
        visit=int(found["visit"]),
        retry=int(found["retry"]),
        execution=int(found["execution"]),
        turn=sum(message["role"] == "assistant" for message in messages),
        marker=marker[0] if marker else "",
        poison=KILLS_ITS_WORKER in brief,
    )


def acts_of(scene: Scene) -> list[str]:
    """The keys of all acts of a `TOOLS` step, in order."""
    count = 1 + chance(scene.sitting, MOST_ACTS)
    return [f"{scene.sitting}:act{number}" for number in range(count)]


def chance(text: str, sides: int) -> int:
    """A number below `sides` that depends on the text alone."""
    return zlib.crc32(text.encode()) % sides


def reply(scene: Scene, body: Mapping[str, Any], sink: int, known: Callable[[str], bool]) -> Answer:
    """What the model says; `known` tells whether the sink on that port has counted an act."""
    if body.get("response_format"):
        return Answer(text=(json.dumps({"summary": scene.key}),))
    tools = {tool["function"]["name"] for tool in body.get("tools", ())}
    told = {act.key: act.answer for act in acts_so_far(body["messages"])}
    for key in acts_of(scene):
        if COUNTED not in told.get(key, "") and not known(key):
            return _work(key, sink, first=not told)
    return _finish(scene, tools)


def acts_so_far(messages: Sequence[Mapping[str, Any]]) -> list[Settled]:
    """The acts called in this conversation and what came back, the latest answer last."""
    calls: dict[str, str] = {}
    acts = []
    for message in messages:
        for call in message.get("tool_calls") or ():
            if found := ACT.search(json.loads(call["function"]["arguments"]).get("command", "")):
                calls[call["id"]] = found[1]
        if message["role"] == "tool" and message["tool_call_id"] in calls:
            acts.append(Settled(calls.pop(message["tool_call_id"]), _text(message)))
    return acts


def _work(key: str, sink: int, first: bool) -> Answer:
    """One act; the first time after a file was written."""
    asked = f"POST /act/{key} HTTP/1.0"
    command = f"exec 3<>/dev/tcp/127.0.0.1/{sink} && printf '{asked}\\r\\n\\r\\n' >&3 && cat <&3"
    act = ("bash", json.dumps({"command": command, "timeout": 30}))
    note = ("write", json.dumps({"path": _file_of(key), "content": f"About to do {key}\n"}))
    return Answer(text=("I get to it.",), calls=(note, act) if first else (act,))


def _file_of(key: str) -> str:
    """A file of each sitting's own, so that the branches of a swarm can be merged."""
    return f"notes/{zlib.crc32(key.encode()):08x}.md"


def _finish(scene: Scene, tools: set[str]) -> Answer:
    """Hand over, in the words of a step or of an executor."""
    done = ("complete", json.dumps({"outputs": {"summary": scene.key}, "summary": "done"}))
    if REPORT in tools:
        done = (REPORT, json.dumps({"status": "success", "summary": scene.key}))
    return Answer(text=("I hand over.",), calls=(done,))


def _text(message: Mapping[str, Any]) -> str:
    content = message.get("content") or ""
    if isinstance(content, str):
        return content
    return "".join(part.get("text", "") for part in content)
