"""Reading, writing and editing files of the workspace."""

from __future__ import annotations

from typing import Any

from workers.agents.tools.base import (
    Bench,
    Tool,
    ToolError,
    bounded,
    described,
    flag,
    number,
    text,
    tidy,
)
from workers.halting import Halt

LINES = 2000
PATH = text("The file, relative to the workspace, for example src/app.py")


def read(bench: Bench, arguments: dict[str, Any], halt: Halt) -> str:
    """The asked lines, with a note when others exist."""
    lines = tidy(bench.blotted(_decoded(bench, arguments["path"]))).splitlines(keepends=True)
    first = arguments["offset"] - 1
    shown = lines[first : first + arguments["limit"]]
    if not shown:
        return f"[{arguments['path']} has {len(lines)} lines]"
    body = bounded("".join(shown))
    if len(shown) == len(lines):
        return body
    return f"{body.rstrip()}\n[lines {first + 1} to {first + len(shown)} of {len(lines)}]"


def write(bench: Bench, arguments: dict[str, Any], halt: Halt) -> str:
    """Make or replace the file."""
    content: str = arguments["content"]
    made = bench.tree.write(arguments["path"], content.encode())
    lines = len(content.splitlines())
    return f"{'created' if made else 'replaced'} {arguments['path']}, {lines} lines"


def edit(bench: Bench, arguments: dict[str, Any], halt: Halt) -> str:
    """Replace one passage, or every one when asked to."""
    path, old, new = arguments["path"], arguments["old_text"], arguments["new_text"]
    before = _decoded(bench, path)
    found = before.count(old) if old else 0
    if not found:
        raise ToolError(f"old_text does not occur in {path}: read the file and copy it exactly")
    if found > 1 and not arguments["replace_all"]:
        raise ToolError(
            f"old_text occurs {found} times in {path}: take in more lines, or set replace_all"
        )
    bench.tree.write(path, before.replace(old, new).encode(errors="surrogateescape"))
    return f"edited {path}: {found} {'place' if found == 1 else 'places'}"


def _decoded(bench: Bench, path: str) -> str:
    """The file as text; bytes that are not UTF-8 become marks that encode back to themselves."""
    data = bench.tree.read(path)
    if b"\0" in data[:8192]:
        raise ToolError(f"{path} is a binary file of {len(data)} bytes")
    return data.decode(errors="surrogateescape")


TOOLS = (
    Tool(
        described(
            "read",
            "Read a text file of the workspace, whole or from line `offset` on.",
            path=PATH,
            offset=number("The first line, counted from 1", 1),
            limit=number("How many lines at most", LINES),
        ),
        read,
    ),
    Tool(
        described(
            "write",
            "Write a file of the workspace whole; folders are made, an older version is replaced.",
            path=PATH,
            content=text("The whole new content"),
        ),
        write,
        effect="tree",
    ),
    Tool(
        described(
            "edit",
            "Replace one exact passage of a file; old_text must occur exactly once.",
            path=PATH,
            old_text=text("The passage as it stands in the file, whitespace included"),
            new_text=text("What takes its place"),
            replace_all=flag("Replace every occurrence instead"),
        ),
        edit,
        effect="tree",
    ),
)
