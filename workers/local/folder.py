"""The folder of one embedded server: who holds it, its password, its port."""

from __future__ import annotations

import fcntl
import os
import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PORTS = range(20_000, 32_000)  # systems give outgoing connections higher ones


class InUse(Exception):
    """Another process holds this folder."""


class CannotStart(Exception):
    """An embedded server did not start; the message ends with what it said."""


@contextmanager
def held(folder: Path, name: str = "lock") -> Iterator[None]:
    """Make `folder` and hold it alone (even a killed holder lets go); raises InUse."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    with (folder / name).open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise InUse(f"{folder} is in use by process {file.read().strip() or '?'}") from None
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield


def secret(path: Path) -> str:
    """The password kept in `path`, made on first use; only its owner can read the file."""
    if not path.exists():
        fresh = path.with_suffix(".new")
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_urlsafe(24))
        fresh.replace(path)
    return path.read_text()


def steady_port(path: Path) -> int:
    """The loopback port kept in `path` while it is free, otherwise a new one, kept from now on."""
    kept = int(path.read_text()) if path.exists() else 0
    port = kept if kept and is_free(kept) else free_port()
    path.write_text(str(port))
    return port


def free_port() -> int:
    """A loopback port nobody listens on, and which no outgoing connection takes meanwhile."""
    for port in secrets.SystemRandom().sample(PORTS, 100):
        if is_free(port):
            return port
    raise CannotStart("no free port was found on 127.0.0.1")


def is_free(port: int) -> bool:
    """Whether a server could listen on this loopback port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def last_words(log: Path, size: int = 2000) -> str:
    """The end of a log file, for error messages."""
    if not log.exists():
        return ""
    return log.read_bytes()[-size:].decode(errors="replace").strip()
