"""Commands straight on this machine: limits and time-outs, but no confinement at all."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from workers.halting import Halt
from workers.sandboxes.base import (
    COOKIES,
    LOCALE,
    SEARCH_PATH,
    Engine,
    Hear,
    Output,
    SandboxUnavailable,
    Spec,
)
from workers.sandboxes.capture import Capture
from workers.sandboxes.children import Command, finish, limited
from workers.sandboxes.scratch import lay_out, scratch


class UnsafeLocal:
    """For operators who accept that an agent's command can read and do what the worker can.

    A command that makes a session of its own outlives its step; only real confinement ends it.
    """

    name = "unsafe-local"
    confines = False

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def probe(self) -> SandboxUnavailable | None:
        """None, except where the launcher that sets limits is missing."""
        if shutil.which("prlimit", path=SEARCH_PATH):
            return None
        return SandboxUnavailable("prlimit is not installed")

    @contextmanager
    def open(self, spec: Spec) -> Iterator[_Open]:
        """A sandbox in name only, with a home folder of its own."""
        with scratch() as home:
            lay_out(home / COOKIES, spec.belongings.cookies)
            yield _Open(spec, home)


@dataclass(frozen=True)
class _Open:
    spec: Spec
    home: Path

    def run(
        self, argv: Sequence[str], timeout: float, halt: Halt, hear: Hear | None = None
    ) -> Output:
        command = Command(limited(self.spec, argv, count=False), self._env(), self.spec.tree)
        return finish(command, timeout, Capture(self.spec.output_bytes, hear), halt)

    def _env(self) -> dict[str, str]:
        env = {"PATH": SEARCH_PATH, "HOME": str(self.home), "LANG": LOCALE}
        if self.spec.git_dir:
            env |= {"GIT_DIR": str(self.spec.git_dir), "GIT_WORK_TREE": str(self.spec.tree)}
        return env | dict(self.spec.belongings.env)
