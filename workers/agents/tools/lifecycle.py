"""The two ways an agent ends its own step."""

from __future__ import annotations

import json
from typing import Any

from workers.agents.tools.base import Bench, Tool, ToolError, Verdict, described, text
from workers.halting import Halt


def complete(bench: Bench, arguments: dict[str, Any], halt: Halt) -> Verdict:
    """The step's outputs; a ToolError names those that are still missing."""
    outputs = {key: plain(value) for key, value in arguments["outputs"].items()}
    missing = [key for key in bench.declared if not outputs.get(key, "").strip()]
    if missing:
        raise ToolError(
            f"missing required outputs: {', '.join(missing)}. Call complete again with all of: "
            f"{', '.join(bench.declared)}"
        )
    return Verdict("completed", outputs=outputs, summary=arguments["summary"])


def fail(bench: Bench, arguments: dict[str, Any], halt: Halt) -> Verdict:
    """The step's failure in the agent's own words."""
    words = [arguments["error"], arguments["details"]]
    return Verdict("failed", error=": ".join(word.strip() for word in words if word.strip()))


def plain(value: object) -> str:
    """An output as the text it is stored as: strings as they are, the rest as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


TOOLS = (
    Tool(
        described(
            "complete",
            "Finish this step successfully and hand over its outputs. Call it once, at the end.",
            outputs={
                "type": "object",
                "description": "Every declared output by its key; the values are texts",
                "additionalProperties": True,
            },
            summary=text("One or two sentences: what was done", default=""),
        ),
        complete,
        lifecycle=True,
    ),
    Tool(
        described(
            "fail",
            "Give this step up: it cannot be done as asked. Say why, so that the next try can.",
            error=text("The reason in one sentence", minLength=1),
            details=text("What was tried and what is needed", default=""),
        ),
        fail,
        lifecycle=True,
    ),
)
