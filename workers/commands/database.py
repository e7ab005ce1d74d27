"""Commands that need only the database: migrate, library load, doctor --invariants."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from models.config import Settings, environment
from workers.commands.complaints import plainly, say
from workers.local.folder import InUse
from workers.local.postgres import address, postgres


def migrate(given: Mapping[str, str]) -> int:
    """Bring the schema up to date; gives the exit code."""
    return plainly(lambda: _on_a_database(given, ["migrate"], _migrate))


def load(path: Path, given: Mapping[str, str]) -> int:
    """Load a folder of agents and pipelines; gives the exit code."""
    return plainly(
        lambda: _on_a_database(given, ["library", "load", str(path)], lambda: _load(path))
    )


def invariants(given: Mapping[str, str]) -> int:
    """Say which rows break what must always hold; gives the exit code, 1 when any do."""
    return plainly(lambda: _on_a_database(given, ["doctor", "--invariants"], _invariants))


def _migrate() -> int:
    from workers.boot import migrate as bring_up_to_date

    say(f"{bring_up_to_date()} migrations applied")
    return 0


def _load(path: Path) -> int:
    from workers.boot import load_library

    for line in load_library(path):
        say(line)
    return 0


def _invariants() -> int:
    from models.base import db
    from models.invariants import INVARIANTS, breaches
    from workers.boot import connect

    connect()
    with db.connection_context():
        broken = breaches()
    for breach in broken:
        say(f"broken: {breach.invariant}: {', '.join(breach.rows)}")
    say(f"{len(INVARIANTS) - len(broken)} of {len(INVARIANTS)} invariants hold")
    return 1 if broken else 0


def _on_a_database(given: Mapping[str, str], argv: list[str], act: Callable[[], int]) -> int:
    """Act on DATABASE_URL; without one, do `argv` in a process that is given this machine's."""
    base = {**environment(), **given}
    chosen = Settings.read(base)
    if chosen.database_url:
        return act()
    with _database(chosen.data) as url:
        command = [sys.executable, "-m", "workers.cli", *argv]
        return subprocess.run(command, env={**base, "DATABASE_URL": url}, check=False).returncode


@contextmanager
def _database(data: Path) -> Iterator[str]:
    """The embedded Postgres of this folder: the one that runs, else one started for the block."""
    with ExitStack() as stack:
        try:
            url = stack.enter_context(postgres(data))
        except InUse:
            url = address(data)
        yield url
