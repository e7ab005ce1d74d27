"""Keeps programs running: starts them, starts again what ended, stops them all."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

from workers.local.charge import Charge, Say, ended
from workers.local.children import exited
from workers.local.folder import last_words
from workers.local.procfile import Program
from workers.local.tether import tethered

STOP_SECONDS = 18.0  # of the twenty we promise; the servers beneath take the rest
LOG_LIMIT = 10 * 1024 * 1024


class Supervisor:
    """Runs `programs` while its block lasts; call `tend` a few times a second.

    Each program writes to `logs`/<name>.log, leads a session of its own and dies with this process.
    The `servers` beneath run already; they are tended too, and outlast the block.
    Enter the block in a thread that lives as long as the block: children die with it.
    """

    def __init__(
        self,
        programs: Sequence[Program],
        env: Mapping[str, str],
        logs: Path,
        say: Say,
        servers: Sequence[Charge] = (),
    ) -> None:
        self.logs = logs
        self.say = say
        self.servers = servers
        self.patience = STOP_SECONDS
        self.charges = [_charge(program, env, logs) for program in programs]

    def __enter__(self) -> Self:
        self.logs.mkdir(parents=True, exist_ok=True)
        for charge in self.charges:
            rotate(charge.log)
            charge.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Ask all at once, wait for all together, then kill what is left."""
        running = [charge.process for charge in self.charges if charge.process is not None]
        for process in running:
            if not exited(process):
                os.kill(process.pid, signal.SIGTERM)
        deadline = time.monotonic() + self.patience
        while time.monotonic() < deadline and not all(map(exited, running)):
            time.sleep(0.02)
        for charge in self.charges:
            if charge.process is not None:
                self._mourn(charge.name, charge.process)
            charge.stop()

    @property
    def pids(self) -> dict[str, int]:
        """The process id of each program that is running."""
        return {c.name: c.process.pid for c in self.charges if c.process is not None}

    def tend(self) -> None:
        """Look at everything once: notice what ended, start what is due."""
        for charge in [*self.servers, *self.charges]:
            charge.tend(self.say)

    def _mourn(self, name: str, process: subprocess.Popen[bytes]) -> None:
        if not exited(process):
            self.say(f"{name} did not stop within {self.patience:g} s and was killed")


def _charge(program: Program, env: Mapping[str, str], logs: Path) -> Charge:
    log = logs / f"{program.name}.log"
    return Charge(program.name, log, partial(_launch, program, dict(env), log))


def _launch(program: Program, env: Mapping[str, str], log: Path) -> subprocess.Popen[bytes]:
    with log.open("ab") as output:
        return subprocess.Popen(
            tethered(["/bin/sh", "-c", f"exec {program.command}"]),
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )


def run_once(program: Program, env: Mapping[str, str], logs: Path) -> None:
    """Run a program to its end; raises ProgramFailed with its last words."""
    logs.mkdir(parents=True, exist_ok=True)
    path = logs / f"{program.name}.log"
    rotate(path)
    with path.open("ab") as log:
        argv = tethered(["/bin/sh", "-c", f"exec {program.command}"])
        code = subprocess.run(
            argv, env=dict(env), stdin=subprocess.DEVNULL, stdout=log, stderr=log, check=False
        ).returncode
    if code:
        raise ProgramFailed(f"{program.name} {ended(code)}:\n{last_words(path)}")


class ProgramFailed(Exception):
    """A program that must succeed did not."""


def rotate(log: Path, limit: int = LOG_LIMIT) -> None:
    """Keep one older file when the log has grown large."""
    if log.exists() and log.stat().st_size > limit:
        log.replace(log.with_suffix(".log.1"))
