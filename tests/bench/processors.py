"""What processes take of the processors: this one and all below it, by name."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")


def spent(named: Mapping[int, str]) -> dict[str, float]:
    """Processor seconds so far of this process and all below it, by name.

    `named` (pid -> name) speaks for what runs below it too; the others go by their programs' names.
    """
    parents, seconds, programs = {}, {}, {}
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(FileNotFoundError, ProcessLookupError):
            program, _, rest = (folder / "stat").read_text().partition(") ")
            fields, pid = rest.split(), int(folder.name)
            parents[pid], programs[pid] = int(fields[1]), program.partition("(")[2]
            seconds[pid] = sum(map(int, fields[11:15])) / TICKS  # its own and its dead children's
    totals: dict[str, float] = {}
    for pid, taken in seconds.items():
        line = _upwards(pid, parents)
        if os.getpid() in line:
            name = next((named[each] for each in line if each in named), programs[pid])
            totals[name] = totals.get(name, 0.0) + taken
    return totals


def _upwards(pid: int, parents: Mapping[int, int]) -> list[int]:
    """The process, its parent, and so on."""
    line = [pid]
    while line[-1] in parents:
        line.append(parents[line[-1]])
    return line
