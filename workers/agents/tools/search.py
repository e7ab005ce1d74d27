"""Finding files and text in the workspace."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import Any

from workers.agents.tools.base import Bench, Tool, ToolError, bounded, described, flag, text
from workers.halting import Halt

MOST = 1000
DEEPEST = 100  # folders within folders; os.fwalk recurses
GREP_SECONDS = 60
FOLDER = text("The folder to look in, relative to the workspace", default=".")


def grep(bench: Bench, arguments: dict[str, Any], halt: Halt) -> str:
    """Matching lines as path:line:text.

    The pattern runs in the sandbox with a time limit: an evil one must not hold up the worker.
    """
    where = "/".join(bench.tree.parts(arguments["path"])) or "."
    argv = ["grep", "-rnIE", "--exclude-dir=.git", f"--max-count={MOST}"]
    argv += ["-i"] if arguments["ignore_case"] else []
    argv += [f"--include={arguments['glob']}"] if arguments["glob"] else []
    output = bench.sandbox.run(
        [*argv, "-e", arguments["pattern"], "--", f"./{where}"], GREP_SECONDS, halt
    )
    if output.timed_out:
        raise ToolError(f"the search took longer than {GREP_SECONDS} seconds: narrow it")
    if output.code == 1:
        return "[no matches]"
    lines = [line.removeprefix("./").removeprefix("./") for line in output.text.splitlines()]
    if output.code and all(line.startswith("grep:") for line in lines):
        raise ToolError(bounded(output.text) or f"grep ended with code {output.code}")
    return bounded("\n".join(_first(lines)))


def find(bench: Bench, arguments: dict[str, Any], halt: Halt) -> str:
    """Files and folders whose name, or path when the pattern has a slash, matches."""
    pattern = arguments["pattern"]
    found = []
    for path, is_folder in _walk(bench, arguments["path"], halt):
        subject = path if "/" in pattern else path.rpartition("/")[2]
        if fnmatchcase(subject, pattern):
            found.append(f"{path}/" if is_folder else path)
    return bounded("\n".join(_first(sorted(found)))) or "[no matches]"


def ls(bench: Bench, arguments: dict[str, Any], halt: Halt) -> str:
    """One line an entry: folders end in a slash, files carry their size in bytes."""
    with bench.tree.folder(bench.tree.parts(arguments["path"])) as handle:
        with os.scandir(handle) as entries:
            names = sorted(entry.name for entry in entries if entry.name != ".git")
        lines = [_entry(handle, name) for name in names]
    return bounded("\n".join(_first(lines))) or "[empty]"


def _entry(handle: int, name: str) -> str:
    found = os.stat(name, dir_fd=handle, follow_symlinks=False)
    if stat.S_ISDIR(found.st_mode):
        return f"{name}/"
    if stat.S_ISLNK(found.st_mode):
        return f"{name} -> {os.readlink(name, dir_fd=handle)}"
    return f"{name} ({found.st_size} bytes)"


def _walk(bench: Bench, path: str, halt: Halt) -> Iterator[tuple[str, bool]]:
    """Every path below `path`, relative to the workspace, and whether it is a folder."""
    start = bench.tree.parts(path)
    with bench.tree.folder(start) as handle:
        for top, folders, files, _ in os.fwalk(".", dir_fd=handle):
            halt.check()
            folders[:] = [name for name in folders if name != ".git" and top.count("/") < DEEPEST]
            above = "/".join([*start, *(part for part in top.split("/") if part != ".")])
            for name in folders:
                yield f"{above}/{name}".lstrip("/"), True
            for name in files:
                yield f"{above}/{name}".lstrip("/"), False


def _first(lines: list[str]) -> list[str]:
    if len(lines) <= MOST:
        return lines
    return [*lines[:MOST], f"[{len(lines) - MOST} more: narrow the search]"]


TOOLS = (
    Tool(
        described(
            "grep",
            "Search the text files of the workspace for an extended regular expression.",
            pattern=text("The regular expression (as in grep -E)"),
            path=text("The file or folder to search, relative to the workspace", default="."),
            glob=text("Only files whose name matches, for example *.py", default=""),
            ignore_case=flag("Upper and lower case are the same"),
        ),
        grep,
    ),
    Tool(
        described(
            "find",
            "Find files and folders by name (*.md) or, given a slash, by path (src/*/test_*).",
            pattern=text("A glob for the name, or for the whole path when it contains a slash"),
            path=FOLDER,
        ),
        find,
    ),
    Tool(described("ls", "List a folder of the workspace.", path=FOLDER), ls),
)
