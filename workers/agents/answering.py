"""One constrained answer instead of a loop: for small models and for structured steps."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from jsonschema.validators import validator_for

from workers.agents.asking import Question, ask
from workers.agents.events import Ending, Limits, Nudged, Replied, Talk, TurnStarted
from workers.agents.finishing import as_outputs
from workers.halting import Halt
from workers.llm.base import Message, Model, Reply, Shape, Text

MENDS = 2  # times the faults are told before the step fails
FAULTS_TOLD = 5


def answer_in_shape(
    model: Model, shape: Shape, messages: Sequence[Message], limits: Limits, halt: Halt
) -> Talk[Ending]:
    """Ask for JSON of the shape's schema until it fits; a failed Ending says what never did."""
    talk = list(messages)
    faults: list[str] = []
    for turn in range(1, MENDS + 2):
        halt.check()
        yield TurnStarted(turn)
        asked = yield from ask(model, Question(talk, limits, shape=shape), halt)
        yield Replied(turn, asked.answer, asked.known)
        reply = asked.answer.reply
        value, faults = checked(reply, shape)
        if not faults:
            return Ending("completed", as_outputs(value, limits.declared))
        if turn <= MENDS:
            told = "Your answer does not fit: " + "; ".join(faults) + ". Answer again, whole."
            talk += [_kept(reply), Message("user", (Text(told),))]
            yield Nudged(told)
    return Ending("failed", error=f"no answer in the shape {shape.name}: {'; '.join(faults)}")


def checked(reply: Reply, shape: Shape) -> tuple[Any, list[str]]:
    """The answer's value and what is wrong with it (nothing: it fits)."""
    if reply.stop == "length":
        return None, ["it was cut off at the output limit: be brief"]
    try:
        value = json.loads(_unfenced(reply.message.text), strict=False)
    except (ValueError, RecursionError) as error:
        return None, [f"it is not valid JSON ({error})"]
    faults = [
        f"{'.'.join(map(str, fault.absolute_path)) or 'the whole'}: {fault.message[:300]}"
        for fault in validator_for(shape.schema)(shape.schema).iter_errors(value)
    ]
    if not faults and _is_hollow(value):
        faults = ["every list in it is empty and it says nothing else"]
    return value, faults[:FAULTS_TOLD]


def _is_hollow(value: object) -> bool:
    """Whether an object holds nothing but empty lists."""
    return isinstance(value, dict) and bool(value) and all(item == [] for item in value.values())


def _unfenced(text: str) -> str:
    """The text without the code fence some models put around JSON."""
    stripped = text.strip()
    if stripped.startswith("```") and stripped.endswith("```"):
        return stripped[3:-3].removeprefix("json")
    return stripped


def _kept(reply: Reply) -> Message:
    """The faulty answer as the conversation remembers it; providers refuse an empty one."""
    return Message("assistant", (Text(reply.message.text.strip() or "(no answer)"),))
