"""The vault: credentials are encrypted where they rest, each bound to the place where it lies.

AES-256-GCM (NIST SP 800-38D) with a random 96-bit nonce. What is stored reads `v1:<key>:<base64 of
nonce, ciphertext and tag>`; table, column and the row's id are authenticated along with it, so a
ciphertext that was moved elsewhere does not open. Every key of the ring opens, the first one seals.
"""

from __future__ import annotations

import base64
import binascii
import importlib
import os
import pkgutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from peewee import Tuple, fn

from models.base import LongText, Model
from models.config import settings
from models.errors import Unavailable

VERSION = "v1"
NONCE = 12  # bytes
BATCH = 200  # rows read at a time


class Unreadable(Exception):
    """This was sealed with a key that is not in the ring, or for another place, or was altered."""


class Sealed(LongText):
    """A column that holds what the vault has sealed; read it with `Vaulted.reveal`."""


class Vaulted(Model):
    """A row with sealed columns."""

    def lock_up(self, **texts: str | None) -> None:
        """Put texts into sealed columns of this row, in memory; the row has its id already."""
        for column, text in texts.items():
            setattr(self, column, None if text is None else seal(self._place(column), text))

    def reveal(self, column: str) -> str | None:
        """What a sealed column says; raises Unreadable."""
        sealed = getattr(self, column)
        return None if sealed is None else unseal(self._place(column), sealed)

    def _place(self, column: str) -> str:
        key = self.get_id()
        parts = key if isinstance(key, tuple) else (key,)
        return place(self._meta.table_name, column, *map(str, parts))

    @classmethod
    def sealed_columns(cls) -> list[str]:
        return [cell.name for cell in cls._meta.sorted_fields if isinstance(cell, Sealed)]


def place(table: str, column: str, *key: str) -> str:
    """The name of one cell, which is authenticated along with what lies there."""
    return ":".join((table, column, *key))


def seal(where: str, text: str) -> str:
    """Encrypt a text for one place; raises Unavailable when there is no key."""
    name, ring = _ring()
    nonce = os.urandom(NONCE)
    sealed = nonce + ring[name].encrypt(nonce, text.encode(), where.encode())
    return f"{VERSION}:{name}:{base64.b64encode(sealed).decode()}"


def unseal(where: str, sealed: str) -> str:
    """The text that was sealed for this place; raises Unreadable."""
    version, _, rest = sealed.partition(":")
    name, _, encoded = rest.partition(":")
    _, ring = _ring()
    if version != VERSION or name not in ring:
        raise Unreadable(f"{where} was sealed with key {name!r}, which is not in the ring")
    try:
        raw = base64.b64decode(encoded, validate=True)
        return ring[name].decrypt(raw[:NONCE], raw[NONCE:], where.encode()).decode()
    except (InvalidTag, ValueError, binascii.Error) as error:
        raise Unreadable(f"{where} does not open") from error


@dataclass
class Rotation:
    """What sealing everything anew came to: cells sealed, and the places that do not open."""

    sealed: int = 0
    unreadable: list[str] = field(default_factory=list)


def rotate() -> Rotation:
    """Seal everything anew that an older key of the ring has sealed.

    Others may read and write meanwhile: a cell that changes under our hands is left to them, and
    each is a transaction of its own, so that nobody waits for more than one.
    """
    done = Rotation()
    for model in vaulted():
        for column in model.sealed_columns():
            _rotate(model, column, done)
    return done


def held() -> Mapping[str, int]:
    """How many cells each key has sealed, by the key's name; other keys than the ring's as well."""
    found: Counter[str] = Counter()
    for model in vaulted():
        for column in model.sealed_columns():
            cell = model._meta.fields[column]
            name = fn.split_part(cell, ":", 2)
            query: Any = model.select(name, fn.count(cell)).where(cell.is_null(False))
            for key, count in query.group_by(name).tuples():
                found[key] += count
    return found


def unopenable() -> Mapping[str, int]:
    """How many cells wait for keys that are not in the ring, by the key's name."""
    ring = dict(settings().vault_keys)
    return {name: count for name, count in held().items() if name not in ring}


def vaulted() -> Sequence[type[Vaulted]]:
    """Every kind of row with sealed columns, whichever modules have been needed so far."""
    import models

    for module in pkgutil.iter_modules(models.__path__):
        importlib.import_module(f"models.{module.name}")
    waiting, found = list(Vaulted.__subclasses__()), []
    while waiting:
        model = waiting.pop()
        waiting += model.__subclasses__()
        found.append(model)
    return found


def _rotate(model: type[Vaulted], column: str, done: Rotation) -> None:
    for row in _outdated(model, column):
        try:
            done.sealed += _sealed_anew(row, column)
        except Unreadable as error:
            done.unreadable.append(str(error))


def _outdated(model: type[Vaulted], column: str) -> Iterator[Any]:
    """The rows whose cell an older key has sealed, read in batches along the primary key."""
    cell, key = model._meta.fields[column], model._meta.primary_key
    names: tuple[str, ...] = getattr(key, "field_names", None) or (key.name,)  # type: ignore[union-attr]
    order = [model._meta.fields[name] for name in names]
    current = f"{VERSION}:{_ring()[0]}:"
    old = model.select(*order, cell).where(cell.is_null(False) & ~cell.startswith(current))
    batch = list(old.order_by(*order).limit(BATCH))
    while batch:
        yield from batch
        last = [getattr(batch[-1], name) for name in names]
        beyond = Tuple(*order) > Tuple(*last)
        batch = list(old.where(beyond).order_by(*order).limit(BATCH))


def _sealed_anew(row: Vaulted, column: str) -> int:
    model, old = type(row), getattr(row, column)
    row.lock_up(**{column: row.reveal(column)})
    cell = model._meta.fields[column]
    same = row._pk_expr() & (cell == old)  # type: ignore[attr-defined]
    return int(model.update({cell: getattr(row, column)}).where(same).execute())


def _ring() -> tuple[str, dict[str, AESGCM]]:
    """The name of the key that seals, and every key that opens."""
    keys = settings().vault_keys
    if not keys:
        raise Unavailable("This server keeps no secrets yet: set SECRET_ENCRYPTION_KEYS")
    return keys[0][0], _opened(keys)


@cache
def _opened(keys: tuple[tuple[str, bytes], ...]) -> dict[str, AESGCM]:
    return {name: AESGCM(key) for name, key in keys}
