"""Commands that ask for runs and watch them: clients of a server, or of all started for one run."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from models.config import settings
from workers.commands.complaints import plainly, say
from workers.following import Manner, follow
from workers.local.folder import CannotStart
from workers.local.running import Running, find, has_guests, visiting
from workers.remote import Rejected, Remote, Unreachable
from workers.terminal import View

RUNS = "/v1/runs"
START_SECONDS = 120.0
STOP_SECONDS = 25.0
NOTICE_SECONDS = 1.5  # an `up` notices within a quarter of a second that its last guest left


@dataclass(frozen=True)
class Where:
    """Which server a command means; nothing given: whatever this machine has."""

    data: Path | None
    url: str | None
    api_key: str | None

    @property
    def folder(self) -> Path:
        return (self.data or settings().data).absolute()


def run(form: dict[str, str], where: Where, manner: Manner, wait: bool) -> int:
    """Start a run, show it to its end; gives the exit code."""
    return ask(RUNS, form, where, manner, wait)


def ask(path: str, form: dict[str, str], where: Where, manner: Manner, wait: bool = True) -> int:
    """Ask for a run where `path` answers with one, show it to its end; gives the exit code."""
    # being told to stop means the same as Ctrl-C: cancel what was started
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    return plainly(lambda: _ask(path, form, where, manner, wait))


def tail(run_id: str, where: Where, manner: Manner) -> int:
    """Show a run from its beginning; gives the exit code."""
    return plainly(lambda: _tail(run_id, where, manner))


def _ask(path: str, form: dict[str, str], where: Where, manner: Manner, wait: bool) -> int:
    with _server(where, lasting=not wait) as remote:
        run = remote.post(path, form)
        if not wait:
            sys.stdout.write(f"{run['id']}\n")
            return 0
        try:
            return _code(follow(remote, run, manner))
        except KeyboardInterrupt:
            return _cancel(remote, run["id"])


def _tail(run_id: str, where: Where, manner: Manner) -> int:
    remote = _known(where)
    if remote is None:
        raise Unreachable("no DjinnBot is up on this machine: start `djinn up`, or give --url")
    try:
        return _code(follow(remote, remote.get(f"/v1/runs/{run_id}"), manner))
    except KeyboardInterrupt:
        return 130


def _code(view: View) -> int:
    return 0 if view.state == "completed" else 1


def _cancel(remote: Remote, run_id: str) -> int:
    say(f"cancelling {run_id} ...")
    try:
        remote.post(f"/v1/runs/{run_id}/cancel")
        say(f"{run_id} is cancelled")
    except Rejected as error:  # it ended just before
        say(f"{run_id} was not cancelled: {error}")
    return 1


def _known(where: Where) -> Remote | None:
    """The server that was named, else the one that is up on this machine."""
    if where.url:
        return Remote(where.url, where.api_key)
    running = find(where.folder)
    return _opened(running, where) if running else None


def _opened(running: Running, where: Where) -> Remote:
    return Remote(running.url, where.api_key or running.api_key)


@contextmanager
def _server(where: Where, lasting: bool) -> Iterator[Remote]:
    """A server for the time of the block; one is started when none is up."""
    if where.url:
        yield Remote(where.url, where.api_key)
        return
    process = None
    try:
        with visiting(where.folder):
            running = find(where.folder)
            if running is None:
                if lasting:
                    raise Unreachable(_NOBODY_STAYS)
                process = _start(where.folder)
                running = _await_up(process, where.folder)
            yield _opened(running, where)
    finally:
        if process is not None:
            _farewell(process, where.folder)


_NOBODY_STAYS = "no DjinnBot is up on this machine to leave the run with: start `djinn up` first"


def _start(folder: Path) -> subprocess.Popen[bytes]:
    """An `up` in a session of its own: Ctrl-C is for us, and it stays while anybody needs it."""
    argv = [sys.executable, "-m", "workers.cli", "up", "--for-guests", "--data", str(folder)]
    return subprocess.Popen(
        argv, stdin=subprocess.DEVNULL, stdout=sys.stderr, start_new_session=True
    )


def _await_up(process: subprocess.Popen[bytes], folder: Path) -> Running:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        running = find(folder)
        if running is not None:
            return running
        if process.poll() is not None:
            raise CannotStart("DjinnBot could not be started on this machine; `djinn doctor` helps")
        time.sleep(0.05)
    process.terminate()
    raise CannotStart(f"DjinnBot was not up after {START_SECONDS:g} s")


def _farewell(process: subprocess.Popen[bytes], folder: Path) -> None:
    """Wait until everything we started has stopped, unless another guest still needs it."""
    if not _ended(process, NOTICE_SECONDS) and has_guests(folder):
        say("somebody else is using what was started: it stops when they are done")
        process.returncode = 0  # it outlives us on purpose
        return
    if not _ended(process, STOP_SECONDS):
        say(f"process {process.pid} takes its time to stop; it goes on without us")


def _ended(process: subprocess.Popen[bytes], seconds: float) -> bool:
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return False
    return True
