"""Reading a Procfile: `name: command`, one a line."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

PROCFILE = Path(__file__).parents[2] / "Procfile"

_LINE = re.compile(r"(?P<name>[A-Za-z0-9_-]+)\s*:\s*(?P<command>\S.*)")


class BadProcfile(Exception):
    """A Procfile is missing or has a line that is not `name: command`."""


@dataclass(frozen=True)
class Program:
    """A process to keep running; `command` is for the shell, so it may use $VARIABLES."""

    name: str
    command: str


def read(path: Path = PROCFILE) -> list[Program]:
    """The programs of the file, in order; raises BadProcfile naming the line."""
    if not path.exists():
        raise BadProcfile(f"no Procfile at {path}")
    return parse(path.read_text())


def parse(text: str) -> list[Program]:
    """The programs of a Procfile's text; blank lines and comments are left out."""
    programs: dict[str, Program] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        match = _LINE.fullmatch(line.strip())
        if match is None:
            raise BadProcfile(f"Procfile line {number} is not `name: command`: {line.strip()}")
        if match["name"] in programs:
            raise BadProcfile(f"Procfile line {number} names {match['name']} a second time")
        programs[match["name"]] = Program(match["name"], match["command"].strip())
    return list(programs.values())
