"""Connections that tell Postgres each statement in full once, and by its number from then on.

Reading and planning the same statements over and over took Postgres longer than running them.
Plain SQL does it (PREPARE, EXECUTE), so that several statements still travel in one round trip.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from psycopg2.extensions import connection

Params = Sequence[Any] | Mapping[str, Any]


class Connection(connection):
    """A connection that knows which statements it has prepared."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._calls: dict[str, str] = {}  # how each statement is told by its number
        self._doubtful = False

    def told(self, sql: str, params: Params) -> bytes:
        """The statement by its number, and before that in full if it has none yet."""
        values = list(params.values() if isinstance(params, Mapping) else params)
        before = "" if sql in self._calls else self._introduced(sql, params)
        call: bytes = self.cursor().mogrify(self._calls[sql], values)
        return before.encode() + call

    def forget(self) -> None:
        """Introduce everything anew: after a failure nobody knows what has been prepared.

        A migration that changes what a prepared statement gives makes it fail too, once.
        """
        self._calls.clear()
        self._doubtful = True

    def _introduced(self, sql: str, params: Params) -> str:
        names = tuple(params) if isinstance(params, Mapping) else len(params)
        number = f"s{len(self._calls)}"
        places = ", ".join(["%s"] * len(params))
        self._calls[sql] = f"EXECUTE {number} ({places})" if places else f"EXECUTE {number}"
        cleared = "DEALLOCATE ALL;\n" if self._doubtful else ""
        self._doubtful = False
        return f"{cleared}PREPARE {number} AS {_numbered(sql, names)};\n"


@cache
def _numbered(sql: str, names: tuple[str, ...] | int) -> str:
    """The statement with $1, $2 ... where its parameters go."""
    if isinstance(names, int):
        return sql % tuple(f"${place}" for place in range(1, names + 1))
    return sql % {name: f"${place}" for place, name in enumerate(names, 1)}
