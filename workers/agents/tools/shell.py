"""Running commands in the step's sandbox."""

from __future__ import annotations

from typing import Any

from workers.agents.tools.base import Bench, Tool, ToolError, bounded, described, number, text
from workers.halting import Halt
from workers.sandboxes.base import Output

TIMEOUT = 300
LONGEST = 3600


def bash(bench: Bench, arguments: dict[str, Any], halt: Halt) -> str:
    """What the command printed; a ToolError when it failed or took too long."""
    seconds = arguments["timeout"]
    output = bench.sandbox.run(["bash", "-c", arguments["command"]], seconds, halt, bench.hear)
    printed = bounded(output.text.rstrip())
    if output.timed_out:
        raise ToolError(f"{printed}\n[ended after {seconds} seconds: time-out]".lstrip())
    if output.code:
        raise ToolError(f"{printed}\n[{ending(output)}]".lstrip())
    return printed or "[no output]"


def ending(output: Output) -> str:
    """How a command that failed ended, in words."""
    return f"killed by signal {-output.code}" if output.code < 0 else f"exit code {output.code}"


TOOLS = (
    Tool(
        described(
            "bash",
            "Run a command with bash in the workspace. Each call is a fresh shell: nothing goes on "
            "in the background after it returns.",
            command=text("The command; several lines are fine"),
            timeout=number("Seconds it may take", TIMEOUT, maximum=LONGEST),
        ),
        bash,
        effect="world",
    ),
)
