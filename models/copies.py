"""Long lists as the JSON that clients read: Postgres writes each row once, until it is changed.

To write the JSON of 10,000 rows takes Postgres thirty times as long as to say which of them are
others than before: whatever is written to a row, it has another `xmin`. So this process keeps the
texts by id and xmin and asks for those alone that it lacks. Nobody has to tell it of changes, and
it never gives anything but what its transaction sees.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import islice

from models.base import db
from models.kept import kept

FEW = 1_000  # rows that are quicker read one by one than with all the others
AT_ONCE = 100  # rows of a piece
BESIDE = 200  # bytes that a text takes in memory beside its own


@dataclass(frozen=True)
class Copy:
    """A list at one moment; with any other row it has another `version`.

    `server` names the life of the database's server: another one may count its transactions anew.
    """

    server: str
    version: str
    rows: Mapping[str, bytes]  # by id and xmin, in order

    @cached_property
    def length(self) -> int:
        """Bytes of the list as JSON."""
        return len(b"[]") + sum(map(len, self.rows.values())) + max(0, len(self.rows) - 1)

    def pieces(self) -> Iterator[bytes]:
        """The list as JSON, piece by piece: the whole of a long one would take long to copy."""
        rows, between = iter(self.rows.values()), b""
        yield b"["
        while some := b",".join(islice(rows, AT_ONCE)):
            yield between + some
            between = b","
        yield b"]"


NOTHING = Copy("", "", {})


@dataclass(frozen=True)
class Listing:
    """These columns of a project's rows in a table, in this order."""

    table: str
    columns: tuple[str, ...]
    order: str

    def read(self, project_id: str) -> Copy:
        """The list as the transaction sees it."""
        with db.moment():
            server, version = db.now(self._version, (project_id,)).fetchone()
            known: Copy = kept.find((self, project_id)) or NOTHING
            if known.version == version:
                return known
            rows = self._rows(project_id, known.rows if known.server == server else {})
        copy = Copy(server, version, rows)
        kept.put((self, project_id), copy, copy.length + BESIDE * len(rows))
        return copy

    def _rows(self, project_id: str, known: Mapping[str, bytes]) -> dict[str, bytes]:
        (told,) = db.now(self._names, (project_id,)).fetchone()
        names = told.split(",") if told else []
        lacking = [name for name in names if name not in known]
        if len(lacking) > FEW:
            found = db.now(self._all, (project_id,))
        else:
            found = db.now(self._some, ([name.split(" ")[0] for name in lacking],))
        texts = {**known, **{name: text.encode() for name, text in found}}
        return {name: texts[name] for name in names}

    @cached_property
    def _version(self) -> str:
        return f"""
            SELECT pg_postmaster_start_time()::text, concat_ws('.',
                extract(epoch FROM pg_postmaster_start_time()), count(*),
                sum(hashtextextended(id, xmin::text::bigint)))
            FROM {self.table} WHERE project_id = %s
        """  # noqa: S608

    @cached_property
    def _names(self) -> str:
        return f"""
            SELECT string_agg(name, ',') FROM (
                SELECT id || ' ' || xmin AS name FROM {self.table} WHERE project_id = %s
                ORDER BY {self.order}) AS named
        """  # noqa: S608

    @cached_property
    def _all(self) -> str:
        return self._written("project_id = %s")

    @cached_property
    def _some(self) -> str:
        return self._written("id = ANY(%s::text[])")

    def _written(self, which: str) -> str:
        columns = ", ".join(self.columns)
        return f"""
            SELECT id || ' ' || xmin,
                (SELECT row_to_json(shown)::text FROM (SELECT {columns}) AS shown)
            FROM {self.table} WHERE {which}
        """  # noqa: S608
