"""Whether a step has handed over what it owes when no lifecycle tool said so."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from workers.agents.tools.base import bounded
from workers.agents.tools.lifecycle import plain

WHOLE = "_structured_json"
SUMMARY_CHARS = 2_000
UNFINISHED = "ended without complete()"
KEY = re.compile(r"^(?P<key>[A-Z][A-Z0-9_]+|[a-z][a-z0-9_]+):[ \t]*(?P<value>.*)$")


def read_text(text: str) -> dict[str, str]:
    """The outputs in a text of `KEY: value` lines; lines indented by two spaces go on."""
    found: dict[str, list[str]] = {}
    lines: list[str] | None = None
    for line in text.splitlines():
        matched = KEY.match(line)
        if matched:
            lines = found.setdefault(matched["key"].lower(), [])
            lines[:] = [matched["value"]]
        elif lines is not None and line.startswith("  "):
            lines.append(line[2:])
        else:
            lines = None
    return {key: "\n".join(value).strip() for key, value in found.items()}


def owed(outputs: Mapping[str, str], declared: Sequence[str]) -> list[str]:
    """The declared outputs that are missing or blank."""
    return [key for key in declared if not outputs.get(key, "").strip()]


def as_outputs(value: Any, declared: Sequence[str]) -> dict[str, str]:
    """A structured answer as outputs: fields that were declared, and the whole JSON.

    With one declared output that is no field of the answer, the whole JSON is stored under it.
    """
    whole = json.dumps(value, ensure_ascii=False)
    fields = value if isinstance(value, dict) else {}
    outputs = {key: plain(fields[key]) for key in declared if key in fields}
    if len(declared) == 1 and not outputs:
        outputs[declared[0]] = whole
    return {**outputs, WHOLE: whole}


def summary_of(text: str) -> str:
    """The text cut to the length of a summary."""
    return bounded(text.strip(), SUMMARY_CHARS)
