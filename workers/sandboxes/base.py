"""What every sandbox is: a place where one step's commands run and can be ended."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from workers.halting import Halt

MOUNT = "/workspace"
SEARCH_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
LOCALE = "C.UTF-8"


Hear = Callable[[str], None]  # takes what a command prints, piece by piece; it must not raise
COOKIES = "cookies"  # the folder of cookie files, in the agent's home


class SandboxUnavailable(Exception):
    """No sandbox can be opened here; the message says why and what to set."""


class SandboxAway(SandboxUnavailable):
    """There may be one in a while: an engine that is being restarted, a machine without room."""


@dataclass(frozen=True)
class Belongings:
    """What commands have that nobody else may see: variables, and cookie files by their names.

    They appear in no process's arguments, because everybody on the machine may read those.
    """

    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    cookies: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class Spec:
    """What one step's commands may touch and use up.

    `tree` is mounted at /workspace; `git_dir`, when given, read-only at /workspace/.git.
    `memory_mb` bounds each process, and the step as a whole where the kernel lets us;
    `seconds` is the processor time of one process, `file_mb` the size of one file.
    """

    tree: Path
    git_dir: Path | None = None
    network: bool = False
    memory_mb: int = 2048
    processes: int = 256
    seconds: int = 3600
    file_mb: int = 1024
    output_bytes: int = 256 * 1024
    belongings: Belongings = field(default_factory=Belongings)


@dataclass(frozen=True)
class Output:
    """What a command printed (both streams in order) and how it ended.

    `code` is negative for a signal; `truncated` says that the middle of `text` was left out.
    """

    code: int
    text: str
    timed_out: bool = False
    truncated: bool = False


class Sandbox(Protocol):
    """An opened sandbox."""

    def run(
        self, argv: Sequence[str], timeout: float, halt: Halt, hear: Hear | None = None
    ) -> Output:
        """Run `argv` in the workspace for at most `timeout` seconds; `hear` hears it meanwhile.

        Raises Stopped or DeadlinePassed when `halt` ends the work; nothing runs on after that.
        """
        ...


class Backend(Protocol):
    """One way to confine commands."""

    name: str
    confines: bool

    def probe(self) -> SandboxUnavailable | None:
        """None when it works on this machine, else the reason why not."""
        ...

    def open(self, spec: Spec) -> AbstractContextManager[Sandbox]:
        """A sandbox for one step; leaving the block ends whatever still runs in it."""
        ...


@dataclass(frozen=True)
class Engine:
    """Where containers come from: the API's address (None: the usual socket) and the image."""

    host: str | None = None
    image: str = "debian:stable-slim"
