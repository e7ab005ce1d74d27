"""Passwords: argon2id (RFC 9106), with the least memory and passes that OWASP recommends."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from typing import Any

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

LEAST, MOST = 8, 1_024  # characters
HASHER = PasswordHasher(time_cost=2, memory_cost=19_456, parallelism=1)
NOBODYS = (  # the hash of random bytes that nobody kept
    "$argon2id$v=19$m=19456,t=2,p=1"
    "$FcHcMwXNALNtG9EjIAS94Q$s4vbXs150TTBziIPUITJMnCRV5wS36Gmo5uOn5vnCnI"
)

_elsewhere: Callable[..., Any] | None = None


def hash_elsewhere(run: Callable[..., Any] | None) -> None:
    """Let `run(work, *arguments)` do what takes 50 ms, where the calling thread serves others.

    None: here.
    """
    global _elsewhere
    _elsewhere = run


def hashed(password: str) -> str:
    """What is kept of a password."""
    return str(_done(HASHER.hash, _normal(password)))


def matches(stored: str | None, password: str) -> bool:
    """Whether this is the password; takes as long where there is none to compare with."""
    fits = _done(_verified, stored or NOBODYS, _normal(password))
    return bool(fits) and stored is not None


def outdated(stored: str) -> bool:
    """Whether the hash was made with other parameters than today's."""
    return HASHER.check_needs_rehash(stored)


def _verified(stored: str, password: str) -> bool:
    try:
        return HASHER.verify(stored, password)
    except (VerificationError, InvalidHashError):
        return False


def _done(work: Callable[..., Any], *arguments: str) -> Any:
    return _elsewhere(work, *arguments) if _elsewhere else work(*arguments)


def _normal(password: str) -> str:
    """The same password however a keyboard composes its characters (NIST SP 800-63B, 3.1.1.2)."""
    return unicodedata.normalize("NFKC", password)
