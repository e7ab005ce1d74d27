"""Running one command as a process group of this machine, and ending all of it."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from workers.halting import Halt
from workers.sandboxes.base import Output, Spec
from workers.sandboxes.capture import Capture

CHUNK = 65536
LAST_WORDS = 2.0  # seconds a killed command's pipe may take to close


@dataclass(frozen=True)
class Command:
    """A command as the kernel gets it: the whole environment is `env`, nothing is inherited."""

    argv: Sequence[str]
    env: Mapping[str, str]
    folder: Path
    handles: Sequence[int] = ()  # open files that it inherits


def limited(spec: Spec, argv: Sequence[str], count: bool = True) -> list[str]:
    """`argv` behind a launcher that sets its resource limits.

    The limits are set where the command starts, not in this process between fork and exec (unsafe
    beside threads). RLIMIT_DATA rather than RLIMIT_AS: runtimes reserve far more than they use.
    RLIMIT_NPROC counts per user, so it is left out (`count=False`) outside a user namespace, and
    the kernel never applies it to root: there only a control group bounds processes.
    """
    limits = [
        f"--data={spec.memory_mb << 20}",
        f"--fsize={spec.file_mb << 20}",
        f"--cpu={spec.seconds}",
        "--core=0",
    ]
    if count:
        limits.append(f"--nproc={spec.processes}")
    return ["/usr/bin/prlimit", *limits, "--", *argv]


def finish(command: Command, timeout: float, capture: Capture, halt: Halt) -> Output:
    """Run `command` to its end, its time-out or the halt; its process group dies in any case."""
    halt.check()
    process = subprocess.Popen(
        command.argv,
        cwd=command.folder,
        env=dict(command.env),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        pass_fds=command.handles,
    )
    try:
        # Nothing reaps the process inside the block, so its pid cannot come to mean another.
        with halt.waking(lambda: _kill(process.pid)):
            ended = _listen(process, capture, halt.remaining(timeout))
            _kill(process.pid)
    finally:
        _kill(process.pid)
        process.wait()
        if process.stdout is not None:
            process.stdout.close()
    halt.check()
    return Output(process.returncode, capture.text, not ended, capture.truncated)


def _listen(process: subprocess.Popen[bytes], capture: Capture, seconds: float) -> bool:
    """Read until the process ends (True) or the time is up (False)."""
    if process.stdout is None:
        return False
    os.set_blocking(process.stdout.fileno(), False)
    deadline = time.monotonic() + seconds
    exited = os.pidfd_open(process.pid)
    try:
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            selector.register(exited, selectors.EVENT_READ)
            ended = _until_exit(selector, exited, capture, deadline)
            # Whatever the command left behind holds the pipe open: end it, then drain.
            _kill(process.pid)
            _drain(selector, exited, capture)
            return ended
    finally:
        os.close(exited)


def _until_exit(
    selector: selectors.BaseSelector, exited: int, capture: Capture, deadline: float
) -> bool:
    while True:
        left = max(0.0, deadline - time.monotonic())
        for key, _ in selector.select(left):
            if key.fd == exited:
                return True
            _take(selector, key, capture)
        if not left:  # only now: who was not let run meanwhile has not looked
            return False


def _drain(selector: selectors.BaseSelector, exited: int, capture: Capture) -> None:
    selector.unregister(exited)
    deadline = time.monotonic() + LAST_WORDS
    while selector.get_map() and (left := deadline - time.monotonic()) > 0:
        for key, _ in selector.select(left):
            _take(selector, key, capture)


def _take(selector: selectors.BaseSelector, key: selectors.SelectorKey, capture: Capture) -> None:
    data = os.read(key.fd, CHUNK)
    if data:
        capture.add(data)
    else:
        selector.unregister(key.fileobj)


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
