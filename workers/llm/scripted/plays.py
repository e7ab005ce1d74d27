"""Changing what the script does: a block in the task, so that tests over HTTP can say anything.

    ```scripted
    {"steps": {"REVIEW": [{"outputs": {"review_result": "CHANGES_REQUESTED"}}, {}],
               "FIX": [{"fail": "broken"}]},
     "default": {"delay_ms": 20}}
    ```
A step's first execution plays its first entry, and so on; the last one repeats.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from workers.llm.base import Refused
from workers.llm.scripted.scenes import Scene


@dataclass(frozen=True)
class Play:
    """One execution's instructions; without any, the script does its tour and completes.

    `outputs` replaces values (null leaves one out), `fail` gives up with that error, `text`
    answers without tools, `calls` replaces the tour, `tools` false leaves it out, `error` raises
    once, `structured` is the answer to a shape, `chunks` deltas of `chunk` come first, `delay`
    is the pause before each delta in seconds.
    """

    outputs: dict[str, Any] = field(default_factory=dict)
    fail: str | None = None
    text: str | None = None
    calls: tuple[tuple[str, str], ...] = ()
    tools: bool = True
    error: str | None = None
    structured: Any = None
    chunks: int = 0
    chunk: str = "word "
    delay: float = 0.0


KEYS = frozenset(
    "outputs fail text calls tools error structured chunks chunk delay_ms".split()  # noqa: SIM905
)


def play_for(scene: Scene) -> Play:
    """The play of this execution; raises Refused when the block cannot be understood."""
    script = _script(scene)
    steps = script.get("steps", {})
    plays = steps.get(scene.step, script.get("default", {}))
    if isinstance(plays, dict):
        plays = [plays]
    if not isinstance(plays, list) or not all(isinstance(play, dict) for play in plays):
        raise Refused(f"The scripted block's plays of {scene.step} are no list of objects.")
    return _play(plays[min(scene.execution, len(plays)) - 1]) if plays else Play()


def _script(scene: Scene) -> dict[str, Any]:
    if not scene.directives:
        return {}
    # The task may be quoted more than once, and cut short in some of the places.
    for block in scene.directives:
        try:
            script = json.loads(block)
        except ValueError:
            continue
        if isinstance(script, dict) and isinstance(script.get("steps", {}), dict):
            return script
    raise Refused("The scripted block in the task is not a JSON object with `steps`.")


def _play(told: dict[str, Any]) -> Play:
    unknown = told.keys() - KEYS
    if unknown:
        raise Refused(f"The scripted block has a play with unknown keys: {', '.join(unknown)}.")
    calls = tuple((call["name"], _arguments(call)) for call in told.get("calls", ()))
    rest = {key: value for key, value in told.items() if key not in {"calls", "delay_ms"}}
    return Play(**rest, calls=calls, delay=told.get("delay_ms", 0) / 1000)


def _arguments(call: dict[str, Any]) -> str:
    """Arguments as JSON text; a string stays as it is, so that tests can garble it."""
    arguments = call.get("arguments", {})
    return arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
