"""`djinn up`: everything on this machine until Ctrl-C, or until the last guest has left."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from models.config import Settings, environment
from workers.commands.complaints import plainly, say
from workers.local.machine import Machine, machine
from workers.local.running import Deserted


def up(given: Mapping[str, str], verbose: bool, for_guests: bool) -> int:
    """Run it; `given` overrules the environment. Gives the exit code."""
    # from the first moment on: leave through every `with` on the way out
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return plainly(lambda: _up({**environment(), **given}, verbose, for_guests), 1)
    except KeyboardInterrupt:
        return 130


def _up(base: Mapping[str, str], verbose: bool, for_guests: bool) -> int:
    data = Settings.read(base).data
    with contextlib.ExitStack() as stack:
        if for_guests:
            deserted = stack.enter_context(contextlib.closing(Deserted(data)))
        if verbose:
            stack.enter_context(_shown(data / "logs"))
        started = stack.enter_context(machine(base, say))
        if not for_guests:
            _welcome(started, data)
        started.keep(until=deserted if for_guests else lambda: False)
    if not for_guests:
        say("everything has stopped")
    return 0


def _welcome(started: Machine, data: Path) -> None:
    url = started.running.url
    say(f"up at {url} (logs in {data / 'logs'}; Ctrl-C stops everything)")
    say("in another terminal: djinn run engineering 'Build a REST API for a todo app'")
    say(f"over HTTP: {url}/docs (service token, where one is asked for: {data / 'token'})")


@contextlib.contextmanager
def _shown(logs: Path) -> Iterator[None]:
    """Show what the processes log from now on, each line behind its process's name."""
    over = threading.Event()
    reader = threading.Thread(target=_tail, args=(logs, over), daemon=True)
    reader.start()
    try:
        yield
    finally:
        over.set()
        reader.join()


def _tail(logs: Path, over: threading.Event) -> None:
    began = time.time()
    read = {path: path.stat().st_size for path in logs.glob("*.log")}
    while True:
        last = over.is_set()
        for path in sorted(logs.glob("*.log")):
            if path.stat().st_mtime >= began - 1:
                read[path] = _show_from(path, read.get(path, 0))
        if last:
            return
        over.wait(0.2)


def _show_from(path: Path, position: int) -> int:
    """Say the whole lines behind `position`; gives where they end."""
    if path.stat().st_size < position:
        position = 0  # it was rotated
    with path.open("rb") as file:
        file.seek(position)
        lines, newline, _ = file.read().rpartition(b"\n")
    for line in lines.decode(errors="replace").splitlines():
        say(f"{path.stem} | {line}")
    return position + len(lines) + len(newline)
