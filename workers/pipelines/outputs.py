"""What a structured step hands over: one JSON value, as the outputs other steps read."""

from __future__ import annotations

from typing import Any

from models.definitions import StepSpec
from workers.pipelines.loops import as_json


def structured_outputs(step: StepSpec, value: Any) -> dict[str, str]:
    """The outputs in a JSON value: fields named like declared outputs, others as JSON text.

    When exactly one declared output is no field of it, the whole value is stored under that one.
    `_structured_json` always holds the whole value.
    """
    whole = as_json(value)
    fields = value if isinstance(value, dict) else {}
    outputs = {name: as_text(fields[name]) for name in step.outputs if name in fields}
    absent = [name for name in step.outputs if name not in fields]
    if len(absent) == 1:
        outputs[absent[0]] = whole
    return {**outputs, "_structured_json": whole}


def as_text(value: Any) -> str:
    return value if isinstance(value, str) else as_json(value)


def is_hollow(value: Any) -> bool:
    """Whether an answer says nothing, though it may fit its schema: empty, or only empty arrays."""
    if isinstance(value, dict):
        return not value or all(each == [] for each in value.values())
    return value is None or value in ([], "")
