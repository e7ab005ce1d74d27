"""Which process is at the other end of a loopback connection, as /proc tells it."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path

LOOPBACK = "0100007F"


def caller_and_ancestor(port: int, server: int, known: Collection[int]) -> tuple[int, int] | None:
    """Who holds the socket port -> server, and which of `known` that descends from, or is."""
    inode = _inode(port, server)
    if inode is None:
        return None
    parents = dict(_parents())
    for pid in parents:
        elder = _elder(pid, parents, known)
        if elder is not None and _holds(pid, inode):
            return pid, elder
    return None


def _inode(port: int, server: int) -> str | None:
    """The socket's number in the kernel's table."""
    near, far = f"{LOOPBACK}:{port:04X}", f"{LOOPBACK}:{server:04X}"
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        words = line.split()
        if (words[1], words[2]) == (near, far):
            return f"socket:[{words[9]}]"
    return None


def _parents() -> Iterator[tuple[int, int]]:
    """Every process and its parent."""
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with suppress(OSError):
                stat = (folder / "stat").read_text()
                yield int(folder.name), int(stat.rpartition(")")[2].split()[1])


def _elder(pid: int, parents: dict[int, int], known: Collection[int]) -> int | None:
    while pid > 1:
        if pid in known:
            return pid
        pid = parents.get(pid, 0)
    return None


def _holds(pid: int, inode: str) -> bool:
    with suppress(OSError):
        for link in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):
                if str(link.readlink()) == inode:
                    return True
    return False
