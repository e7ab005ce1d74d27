"""An embedded Valkey (or Redis) of our own: password, loopback only, append-only file.

What ended without a farewell, by a crash or on a full disk, may leave an append-only file that the
server refuses to start with. Nobody has to mend that: everything in it can be asked for again.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import BinaryIO

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from workers.local.binaries import valkey_program
from workers.local.charge import Charge
from workers.local.children import exited
from workers.local.folder import CannotStart, held, last_words, secret, steady_port
from workers.local.tether import tethered

READY_SECONDS = 30.0
FAREWELL = [(signal.SIGTERM, 6.0)]
ENVIRONMENT = {"LC_ALL": "C.UTF-8", "TZ": "UTC", "PATH": os.defpath}


@contextmanager
def valkey(data: Path) -> Iterator[str]:
    """Run a Valkey on `data`/valkey while the block lasts; yields its URL.

    Raises InUse, Missing or CannotStart. The server dies with this process.
    """
    with tended(data) as (url, _):
        yield url


@contextmanager
def tended(data: Path) -> Iterator[tuple[str, Charge]]:
    """The same for who tends the server: it is started again on its folder and its port."""
    home = data.absolute() / "valkey"
    with held(home):
        url, server = _start(home, valkey_program())
        try:
            yield url, server
        finally:
            server.stop(FAREWELL)


def _start(home: Path, program: Path) -> tuple[str, Charge]:
    password = secret(home / "password")
    for _ in range(3):  # a free port may be taken before the server gets to it
        port = steady_port(home / "port")
        _configure(home, port, password)
        server = Charge("Valkey", home / "log", partial(_launch, home, program))
        with ExitStack() as leaving:
            leaving.callback(server.stop, FAREWELL)
            if _answers(server.start(), port, password):
                leaving.pop_all()  # it stays
                return f"redis://:{password}@127.0.0.1:{port}/0", server
    raise CannotStart(f"Valkey did not start in {home}: {last_words(home / 'log')}")


def _configure(home: Path, port: int, password: str) -> None:
    """Write the settings to a private file: an argv, which anybody may read, shows no password."""
    (home / "data").mkdir(exist_ok=True)
    lines = {
        "bind": "127.0.0.1",
        "port": port,
        "dir": f'"{home / "data"}"',
        "pidfile": f'"{home / "pid"}"',  # stays behind where there was no farewell
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": '""',
        "maxmemory-policy": "noeviction",  # what Dramatiq keeps here must not vanish
        "requirepass": password,
    }
    file = home / "valkey.conf"
    file.touch(mode=0o600)
    file.chmod(0o600)
    file.write_text("".join(f"{key} {value}\n" for key, value in lines.items()))


def _launch(home: Path, program: Path) -> subprocess.Popen[bytes]:
    with (home / "log").open("ab") as log:
        if (home / "pid").exists():
            _mend(home / "data" / "appendonlydir", program, log)
        return subprocess.Popen(
            tethered([program, home / "valkey.conf"], signal.SIGTERM),
            env=ENVIRONMENT,
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,  # Ctrl-C is for us; we stop the server last
        )


def _mend(folder: Path, program: Path, log: BinaryIO) -> None:
    """Cut off what cannot be read at the end of what was appended; put all aside if need be."""
    snapshots = [["check-rdb", str(file)] for file in folder.glob("*.base.rdb")]
    appended = [["check-aof", "--fix", str(file)] for file in folder.glob("*.incr.aof")]
    if not all(_mended(program, log, *words) for words in [*snapshots, *appended]):
        aside = folder.with_name("unreadable")
        shutil.rmtree(aside, ignore_errors=True)
        folder.rename(aside)


def _mended(program: Path, log: BinaryIO, tool: str, *words: str) -> bool:
    """Whether the tool made it readable; it is the server's program, called by another name."""
    argv = [program.name.replace("server", tool), *words]
    done = subprocess.run(
        argv, executable=program, env=ENVIRONMENT, input=b"y\n", stdout=log, stderr=log
    )
    return done.returncode == 0


def _answers(server: subprocess.Popen[bytes], port: int, password: str) -> bool:
    deadline = time.monotonic() + READY_SECONDS
    once = Retry(NoBackoff(), 0)  # the client's own patience would only hide the moment
    while time.monotonic() < deadline and not exited(server):
        try:
            with redis.Redis(port=port, password=password, retry=once, socket_timeout=3) as client:
                client.ping()
        except (redis.ConnectionError, redis.TimeoutError):  # not listening yet, or still reading
            time.sleep(0.02)
        else:
            return True
    return False
