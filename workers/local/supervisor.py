"""Keeps programs running: starts them, starts again what ended, stops them all."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from workers.local.children import end, exited
from workers.local.folder import last_words
from workers.local.procfile import Program
from workers.local.tether import tethered

STOP_SECONDS = 18.0  # of the twenty we promise; the servers beneath take the rest
LONGEST_PAUSE = 30.0
STEADY_SECONDS = 60.0  # a process that ran so long starts again at once
LOG_LIMIT = 10 * 1024 * 1024

Say = Callable[[str], None]


@dataclass
class Charge:
    """One program in our care."""

    program: Program
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    failures: int = 0
    due: float = 0.0


class Supervisor:
    """Runs `programs` while its block lasts; call `tend` a few times a second.

    Each program writes to `logs`/<name>.log, leads a session of its own and dies with this process.
    Enter the block in a thread that lives as long as the block: children die with it.
    """

    def __init__(
        self, programs: Sequence[Program], env: Mapping[str, str], logs: Path, say: Say
    ) -> None:
        self.env = dict(env)
        self.logs = logs
        self.say = say
        self.patience = STOP_SECONDS
        self.charges = [Charge(program) for program in programs]

    def __enter__(self) -> Self:
        self.logs.mkdir(parents=True, exist_ok=True)
        for charge in self.charges:
            rotate(self.log_of(charge.program))
            self._start(charge)
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
                self._mourn(charge.program, charge.process)
                end(charge.process)
                charge.process = None

    @property
    def pids(self) -> dict[str, int]:
        """The process id of each program that is running."""
        return {c.program.name: c.process.pid for c in self.charges if c.process is not None}

    def log_of(self, program: Program) -> Path:
        return self.logs / f"{program.name}.log"

    def tend(self) -> None:
        """Look at every program once: notice what ended, start what is due."""
        now = time.monotonic()
        for charge in self.charges:
            if charge.process is None and now >= charge.due:
                self._start(charge)
            elif charge.process is not None and exited(charge.process):
                self._put_off(charge, end(charge.process), now)

    def _put_off(self, charge: Charge, code: int, now: float) -> None:
        charge.failures = 0 if now - charge.started > STEADY_SECONDS else charge.failures + 1
        pause = pause_after(charge.failures)
        charge.process, charge.due = None, now + pause
        log = self.log_of(charge.program)
        self.say(f"{charge.program.name} {_ended(code)}; again in {pause:g} s. See {log}")

    def _start(self, charge: Charge) -> None:
        with self.log_of(charge.program).open("ab") as log:
            charge.process = subprocess.Popen(
                tethered(["/bin/sh", "-c", f"exec {charge.program.command}"]),
                env=self.env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        charge.started = time.monotonic()

    def _mourn(self, program: Program, process: subprocess.Popen[bytes]) -> None:
        if not exited(process):
            self.say(f"{program.name} did not stop within {self.patience:g} s and was killed")


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
        raise ProgramFailed(f"{program.name} {_ended(code)}:\n{last_words(path)}")


class ProgramFailed(Exception):
    """A program that must succeed did not."""


def pause_after(failures: int) -> float:
    """Seconds before a program is started again: 0, then 1, 2, 4 ... up to half a minute."""
    return 0.0 if failures == 0 else min(LONGEST_PAUSE, 2.0 ** (failures - 1))


def rotate(log: Path, limit: int = LOG_LIMIT) -> None:
    """Keep one older file when the log has grown large."""
    if log.exists() and log.stat().st_size > limit:
        log.replace(log.with_suffix(".log.1"))


def _ended(code: int) -> str:
    return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with {code}"
