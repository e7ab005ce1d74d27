"""What a step owes: which outputs, of which form, in words and as a JSON Schema."""

from __future__ import annotations

from typing import Any

from models.definitions import Definition, StepSpec
from workers.llm.base import Shape

# A small model writes under these bounds; without them it may never close a string or a list, and
# it drifts into markup and numbers.
SENTENCES = "^[A-Z][A-Za-z0-9 ,.'()/-]{20,220}[.]$"
MOST_ITEMS = 3
JSON = "_json"  # how the names of outputs end that programs read


def declared_outputs(step: StepSpec) -> tuple[str, ...]:
    """The outputs the step must hand over, the one that decides the way on included."""
    key = step.result_key
    return step.outputs if key is None or key in step.outputs else (*step.outputs, key)


def lines(step: StepSpec, definition: Definition) -> list[str]:
    """One line an output, as prompts list them: `- key` or `- key: hint`."""
    hints = {key: _hint(key, step, definition) for key in declared_outputs(step)}
    return [f"- {key}: {hint}" if hint else f"- {key}" for key, hint in hints.items()]


def shape_for(step: StepSpec, definition: Definition, small: bool = True) -> Shape:
    """What an answer without tools is held to: the step's own schema, else one of its outputs.

    `small` bounds the texts and lists, for models that would not find an end by themselves.
    """
    if step.output_schema:
        own = step.output_schema
        return Shape(own.name, own.schema, own.strict, own.method)
    keys = declared_outputs(step) or ("result",)
    schema = {
        "type": "object",
        "properties": {key: _schema(key, step, definition, small) for key in keys},
        "required": list(keys),
        "additionalProperties": False,
    }
    return Shape("outputs", schema)


def _hint(key: str, step: StepSpec, definition: Definition) -> str:
    if key == step.result_key:
        return f"exactly one of {' | '.join(step.on_result)}"
    looping = _looping(key, definition)
    if looping:
        return f"a JSON array; step {looping} works through its items"
    return "JSON text, nothing around it" if key.endswith(JSON) else ""


def _schema(key: str, step: StepSpec, definition: Definition, small: bool) -> dict[str, Any]:
    if key == step.result_key:
        return {"type": "string", "enum": list(step.on_result)}
    words = {"type": "string", **({"pattern": SENTENCES} if small else {})}
    if not _looping(key, definition) and not (small and key.endswith(JSON)):
        return words
    return {
        "type": "array",
        "items": words,
        **({"minItems": 1, "maxItems": MOST_ITEMS} if small else {}),
    }


def _looping(key: str, definition: Definition) -> str | None:
    """The step that repeats itself for each item of output `key`, if any."""
    return next((step.id for step in definition.steps if step.loop and step.loop.over == key), None)
