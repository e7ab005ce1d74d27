"""Commands that need only the database: schema, library, invariants, the vault, the audit log."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import typer

from models.config import Settings, environment
from models.errors import Malformed
from workers.commands.complaints import plainly, say
from workers.local.folder import InUse
from workers.local.machine import own_keys
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


def rotate(given: Mapping[str, str]) -> int:
    """Seal all secrets anew with the newest key; gives the exit code, 1 when any does not open."""
    return plainly(lambda: _on_a_database(given, ["vault", "rotate"], _rotate))


def vault(given: Mapping[str, str]) -> int:
    """Say which key has sealed how much; gives the exit code, 1 when keys are missing."""
    return plainly(lambda: _on_a_database(given, ["vault", "status"], _vault))


def audit(given: Mapping[str, str], head: str | None) -> int:
    """Check the audit log's chain; gives the exit code, 1 when it is broken."""
    argv = ["audit", "verify", *(["--head", head] if head else [])]
    return plainly(lambda: _on_a_database(given, argv, lambda: _audit(head)))


def create_user(given: Mapping[str, str], email: str, is_admin: bool) -> int:
    """Make an account, whose password is asked for or read from stdin; gives the exit code."""
    argv = ["user", "create", email, *(["--admin"] if is_admin else [])]
    return plainly(lambda: _on_a_database(given, argv, lambda: _create_user(email, is_admin)))


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
    from models.invariants import INVARIANTS, breaches

    with _connected():
        broken = breaches()
    for breach in broken:
        say(f"broken: {breach.invariant}: {', '.join(breach.rows)}")
    say(f"{len(INVARIANTS) - len(broken)} of {len(INVARIANTS)} invariants hold")
    return 1 if broken else 0


def _rotate() -> int:
    from models import vault as cells

    with _connected():
        done = cells.rotate()
    for text in done.unreadable:
        say(f"lost: {text}")
    say(f"{done.sealed} secrets sealed anew, {len(done.unreadable)} do not open")
    return 1 if done.unreadable else 0


def _vault() -> int:
    from models import vault as cells

    with _connected() as settings:
        held = cells.held()
    ring = [name for name, _ in settings.vault_keys]
    for name in [*ring, *sorted(set(held) - set(ring))]:
        place = "seals" if name in ring[:1] else "opens" if name in ring else "not in the ring"
        say(f"key {name} ({place}): {held.get(name, 0)} secrets")
    return 1 if set(held) - set(ring) else 0


def _audit(head: str | None) -> int:
    from models import audit as log

    with _connected():
        found = log.verify(head)
    if found.broken is not None:
        say(f"broken: entry {found.broken} is not what it was; {found.entries} before it hold")
    elif not found.complete:
        say(f"broken: no entry has the digest {head}: the end was cut off, or all is new")
    else:
        say(f"{found.entries} entries hold; keep this head elsewhere: {found.head}")
    return 1 if found.broken is not None or not found.complete else 0


def _create_user(email: str, is_admin: bool) -> int:
    from models import mail, passwords
    from tasks import accounts

    if not mail.is_address(email):
        raise Malformed(f"{email!r} is no email address")
    password = _asked_password()
    if not passwords.LEAST <= len(password) <= passwords.MOST:
        raise Malformed(f"A password has at least {passwords.LEAST} characters")
    form = {"email": email, "password": password, "is_admin": is_admin}
    with _connected():
        user = accounts.create(None, form)
    say(f"{user.email} has an account: {user.id}")
    return 0


def _asked_password() -> str:
    """What a person types twice, unseen; else the first line of what comes in."""
    if sys.stdin.isatty():
        return str(typer.prompt("Password", hide_input=True, confirmation_prompt=True, err=True))
    return sys.stdin.readline().rstrip("\r\n")


@contextmanager
def _connected() -> Iterator[Settings]:
    """The configured database, connected for the block."""
    from models.base import db
    from workers.boot import connect

    settings = connect()
    with db.connection_context():
        yield settings


def _on_a_database(given: Mapping[str, str], argv: list[str], act: Callable[[], int]) -> int:
    """Act on DATABASE_URL; without one, do `argv` in a process that is given this machine's."""
    base = {**environment(), **given}
    chosen = Settings.read(base)
    if chosen.database_url:
        return act()
    with _database(chosen.data) as url:
        command = [sys.executable, "-m", "workers.cli", *argv]
        env = {**base, **own_keys(chosen, chosen.data), "DATABASE_URL": url}
        return subprocess.run(command, env=env, check=False).returncode


@contextmanager
def _database(data: Path) -> Iterator[str]:
    """The embedded Postgres of this folder: the one that runs, else one started for the block."""
    with ExitStack() as stack:
        try:
            url = stack.enter_context(postgres(data))
        except InUse:
            url = address(data)
        yield url
