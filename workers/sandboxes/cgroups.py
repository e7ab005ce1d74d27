"""Control groups: the only limit on memory and processes that holds for a step as a whole."""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
PARENT = "djinnbot"
JOIN = 'for g in $1; do echo $$ > "$g/cgroup.procs" || exit 126; done; shift; exec "$@"'
EMPTYING = 2.0  # seconds the kernel may take to bury the killed


@contextmanager
def group(memory_mb: int, processes: int) -> Iterator[list[Path]]:
    """Folders a command joins to be bounded; none where we may not make any."""
    folders: list[Path] = []
    try:
        with contextlib.suppress(OSError):
            for folder, limits in _wanted(memory_mb, processes):
                folder.mkdir(parents=True)
                folders.append(folder)
                for name, value in limits.items():
                    (folder / name).write_text(str(value))
        yield folders if folders and all(map(_bounded, folders)) else []
    finally:
        for folder in folders:
            _remove(folder)


def joining(folders: list[Path], argv: list[str]) -> list[str]:
    """`argv` behind a launcher that first moves itself into the groups."""
    if not folders:
        return argv
    return ["/bin/sh", "-c", JOIN, "sh", " ".join(map(str, folders)), *argv]


def _wanted(memory_mb: int, processes: int) -> list[tuple[Path, dict[str, int]]]:
    """What to make, in the unified hierarchy or in the older one with a tree per controller."""
    name, memory = f"step-{secrets.token_hex(8)}", memory_mb << 20
    if (ROOT / "cgroup.controllers").exists():
        parent = ROOT / PARENT
        parent.mkdir(exist_ok=True)
        (parent / "cgroup.subtree_control").write_text("+memory +pids")
        return [(parent / name, {"memory.max": memory, "pids.max": processes})]
    trees = [
        (ROOT / "memory", {"memory.limit_in_bytes": memory}),
        (ROOT / "pids", {"pids.max": processes}),
    ]
    return [(tree / PARENT / name, limits) for tree, limits in trees if tree.is_dir()]


def _bounded(folder: Path) -> bool:
    limits = ("pids.max", "memory.max", "memory.limit_in_bytes")
    return any((folder / name).exists() for name in limits)


def _remove(folder: Path) -> None:
    deadline = time.monotonic() + EMPTYING
    while folder.exists() and time.monotonic() < deadline:
        try:
            folder.rmdir()
        except OSError:
            time.sleep(0.02)
