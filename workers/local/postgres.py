"""An embedded Postgres of our own: any user, loopback only, data that survives restarts."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path

import psycopg2

from workers.local.binaries import postgres_programs
from workers.local.charge import Charge
from workers.local.children import exited
from workers.local.folder import CannotStart, held, last_words, secret, steady_port
from workers.local.tether import Identity, ordinary_identity, tethered

USER = "djinn"
READY_SECONDS = 60.0
FAREWELL = [(signal.SIGINT, 8.0), (signal.SIGQUIT, 3.0)]  # its fast and immediate shutdowns
# nothing of ours leaks into the server, and its messages are in English
ENVIRONMENT = {"LC_ALL": "C.UTF-8", "TZ": "UTC", "PATH": os.defpath}


@contextmanager
def postgres(data: Path, programs: Path | None = None) -> Iterator[str]:
    """Run a Postgres on `data`/postgres while the block lasts; yields its URL.

    `programs` is the folder of its programs, found when not given. Raises InUse, Missing,
    NoIdentity or CannotStart. The server dies with this process.
    """
    with tended(data, programs) as (url, _):
        yield url


@contextmanager
def tended(data: Path, programs: Path | None = None) -> Iterator[tuple[str, Charge]]:
    """The same for who tends the server: it is started again on its folder and its port."""
    home = data.absolute() / "postgres"
    with held(home):
        programs = programs or postgres_programs()
        identity = ordinary_identity()
        password = secret(home / "password")
        _own(home, identity)
        _check_reach([home, programs / "postgres"], identity)
        if not (home / "data" / "PG_VERSION").exists():
            _create(home, programs, identity)
        _clear_stale_pid(home / "data")
        url, server = _start(home, programs, identity, password)
        try:
            yield url, server
        finally:
            server.stop(FAREWELL)


def address(data: Path) -> str:
    """The URL of the Postgres that somebody else runs on this folder."""
    home = data.absolute() / "postgres"
    return _url((home / "password").read_text(), int((home / "port").read_text()))


def _url(password: str, port: int) -> str:
    return f"postgresql://{USER}:{password}@127.0.0.1:{port}/postgres"


def _create(home: Path, programs: Path, identity: Identity) -> None:
    """Make the cluster beside its final place, so that an interrupted attempt leaves no half."""
    fresh = home / "data.tmp"
    shutil.rmtree(fresh, ignore_errors=True)
    argv: list[str | Path] = [programs / "initdb", "-D", fresh, "-U", USER, "-E", "UTF8"]
    argv += ["--auth=scram-sha-256", "--pwfile", home / "password", *_locale(programs)]
    # a working directory the borrowed identity may enter
    done = subprocess.run(
        tethered(argv, signal.SIGKILL, identity),
        env=ENVIRONMENT,
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise CannotStart(f"initdb failed in {home}: {done.stderr.strip()[-2000:]}")
    fresh.rename(home / "data")


def _locale(programs: Path) -> list[str]:
    """The embedded build has no ICU; the builtin provider exists since Postgres 17."""
    argv = [str(programs / "postgres"), "--version"]
    said = subprocess.run(argv, capture_output=True, text=True, check=True, env=ENVIRONMENT).stdout
    if int(said.split()[2].split(".")[0]) >= 17:
        return ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    return ["--locale=C.UTF-8"]


def _start(home: Path, programs: Path, identity: Identity, password: str) -> tuple[str, Charge]:
    for _ in range(3):  # a free port may be taken before the server gets to it
        port = steady_port(home / "port")
        url, launch = _url(password, port), partial(_launch, home, programs, identity, port)
        server = Charge("Postgres", home / "log", launch)
        with ExitStack() as leaving:
            leaving.callback(server.stop, FAREWELL)
            if _answers(server.start(), url):
                leaving.pop_all()  # it stays
                return url, server
        (home / "port").unlink(missing_ok=True)
    raise CannotStart(f"Postgres did not start in {home}: {last_words(home / 'log')}")


def _launch(home: Path, programs: Path, identity: Identity, port: int) -> subprocess.Popen[bytes]:
    options = {
        "listen_addresses": "127.0.0.1",
        "port": port,
        "unix_socket_directories": "",
        "max_connections": 200,
        "shared_buffers": "128MB",
    }
    argv: list[str | Path] = [programs / "postgres", "-D", home / "data"]
    argv += [word for key, value in options.items() for word in ("-c", f"{key}={value}")]
    with (home / "log").open("ab") as log:
        return subprocess.Popen(
            tethered(argv, signal.SIGINT, identity),
            env=ENVIRONMENT,
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,  # Ctrl-C is for us; we stop the server last
        )


def _answers(server: subprocess.Popen[bytes], url: str) -> bool:
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline and not exited(server):
        try:
            psycopg2.connect(url, connect_timeout=3).close()
        except psycopg2.OperationalError as error:
            if "password authentication failed" in str(error):
                raise CannotStart("Postgres's password file and its data do not match") from error
            time.sleep(0.03)
        else:
            return True
    return False


def _clear_stale_pid(data: Path) -> None:
    """Postgres refuses to start when its old pid now belongs to an unrelated process.

    We hold the folder, so a living postmaster is an orphan on its way out: help it along.
    """
    file = data / "postmaster.pid"
    deadline = time.monotonic() + 10
    while file.exists():
        pid = _first_number(file)
        if not pid or not _works_in(pid, data):
            file.unlink(missing_ok=True)
            return
        if time.monotonic() > deadline:
            raise CannotStart(f"a Postgres server (process {pid}) still runs on {data}")
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGINT)
        time.sleep(0.2)


def _first_number(file: Path) -> int:
    with suppress(FileNotFoundError):
        first = file.read_text().split("\n", 1)[0].strip()
        return int(first) if first.isdigit() else 0
    return 0


def _works_in(pid: int, data: Path) -> bool:
    """Postgres changes into its data folder, so this tells ours from any other process."""
    try:
        return Path(f"/proc/{pid}/cwd").readlink() == data.resolve()
    except OSError:
        return False


def _own(home: Path, identity: Identity) -> None:
    """Give the folder to who will run the server (only root changes anything)."""
    if os.geteuid() != 0:
        return
    uid = pwd.getpwnam("nobody").pw_uid if identity == "nobody" else 0
    if home.stat().st_uid == uid:
        return
    for path in [home, *home.rglob("*")]:
        os.chown(path, uid, -1, follow_symlinks=False)


def _check_reach(paths: list[Path], identity: Identity) -> None:
    """A borrowed user may be kept out by a folder on the way; say so before Postgres stumbles."""
    if identity != "nobody":
        return
    for path in paths:
        seen = subprocess.run(tethered(["test", "-x", path], identity=identity), check=False)
        if seen.returncode:
            raise CannotStart(
                f"Postgres has to run as user nobody here (we are root, and user namespaces are "
                f"not allowed), and nobody may not enter {path}. Keep the data and the clone under "
                f"folders open to all, such as DJINN_DATA_PATH=/var/lib/djinnbot, run as an "
                f"ordinary user, or set DATABASE_URL to a Postgres server."
            )
