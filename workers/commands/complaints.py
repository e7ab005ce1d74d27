"""Saying on stderr what a person must know, and what went wrong, without a traceback."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import typer
from peewee import OperationalError
from rich.console import Console

from models.config import Misconfigured
from models.errors import DomainError
from workers.local.binaries import Missing
from workers.local.folder import CannotStart, InUse
from workers.local.procfile import BadProcfile
from workers.local.supervisor import ProgramFailed
from workers.local.tether import NoIdentity
from workers.remote import Rejected, Unreachable

T = TypeVar("T")

USAGE = 2  # also: no server
# everything a person can mend; whatever else happens is a bug and shows its traceback
MENDABLE = (
    Misconfigured,
    DomainError,
    OperationalError,
    Missing,
    CannotStart,
    InUse,
    BadProcfile,
    ProgramFailed,
    NoIdentity,
    Rejected,
    Unreachable,
    PermissionError,
)


def say(text: str) -> None:
    """One line on stderr."""
    Console(stderr=True, highlight=False).print(f"djinn: {text}", markup=False, soft_wrap=True)


def plainly(act: Callable[[], T], code: int = USAGE) -> T:
    """What `act` returns; what can be mended is said in one line and ends with exit code `code`."""
    try:
        return act()
    except MENDABLE as error:
        say(str(error).strip())
        raise typer.Exit(code) from None
