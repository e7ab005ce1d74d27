"""Long lists as the JSON that clients read: Postgres writes each row once, until it is changed.

To write the JSON of 10,000 rows takes Postgres thirty times as long as to say which of them are
others than before: whatever is written to a row, its `xmin` names another transaction. So this
process keeps the texts, and asks for those alone that may have changed since it last looked.
Nobody has to tell it of changes, and it never gives anything but what its transaction sees.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Any, NamedTuple, Self

from models.base import db
from models.kept import kept

AT_ONCE = 1_000  # rows of a piece
BESIDE = 200  # bytes that a text takes in memory beside its own
XIDS = 2**32 - 1  # after so many transactions their numbers in rows begin anew

Row = tuple[Any, ...]  # by what the list is ordered, the id last, and the text


class Snapshot(NamedTuple):
    """Which transactions count at a moment: those before `next` that were not `under_way`."""

    oldest: int  # that had not ended: older ones change nothing any more
    next: int
    under_way: frozenset[int]

    @classmethod
    def told(cls, text: str) -> Self:
        """The snapshot that Postgres writes as `oldest:next:under_way,...`."""
        oldest, following, under_way = text.split(":")
        return cls(
            int(oldest), int(following), frozenset(map(int, filter(None, under_way.split(","))))
        )

    def follows(self, other: Snapshot) -> bool:
        """Whether all that counted at the other moment counts at this one."""
        unseen = {number for number in self.under_way if number < other.next}
        return other.next <= self.next and unseen <= other.under_way


@dataclass(frozen=True)
class Copy:
    """A list at one moment; with any other row it has another `version`.

    `server` names the life of the database's server: another one may count its transactions anew.
    """

    server: str
    version: str
    moment: Snapshot
    rows: Sequence[Row]

    @cached_property
    def length(self) -> int:
        """Bytes of the list as JSON."""
        return len(b"[]") + sum(len(row[-1]) for row in self.rows) + max(0, len(self.rows) - 1)

    def pieces(self) -> Iterator[bytes]:
        """The list as JSON, piece by piece: the whole of a long one would take long to copy."""
        texts, between = (row[-1] for row in self.rows), b""
        yield b"["
        while some := b",".join(islice(texts, AT_ONCE)):
            yield between + some
            between = b","
        yield b"]"


NOTHING = Copy("", "", Snapshot(0, 0, frozenset()), ())


@dataclass(frozen=True)
class Listing:
    """These columns of a project's rows in a table, ordered by some of them, the id last."""

    table: str
    columns: tuple[str, ...]
    order: tuple[str, ...]

    def read(self, project_id: str) -> Copy:
        """The list as the transaction sees it, which must not have written to it."""
        key = self, project_id
        with db.moment():
            server, version, count, text = db.now(self._now, (project_id,)).fetchone()
            moment = Snapshot.told(text)
            known: Copy = kept.find(key) or NOTHING
            if known.version == version:
                return known
            if known.server != server or not moment.follows(known.moment):
                known = NOTHING  # another thread has looked later than this transaction
            rows = self._rows(project_id, known, count, moment.next)
        copy = Copy(server, version, moment, rows)
        kept.put(key, copy, copy.length + BESIDE * len(rows))
        return copy

    def _rows(self, project_id: str, known: Copy, count: int, ahead: int) -> list[Row]:
        since = {"project": project_id, "ahead": ahead, "age": ahead - known.moment.oldest}
        found = db.now(self._since, since).fetchall()
        fresh = {row[-2]: (*row[:-1], row[-1].encode()) for row in found}
        rows = [row for row in known.rows if row[-2] not in fresh]
        rows += fresh.values()
        if len(rows) > count:
            there = {name for (name,) in db.now(self._ids, (project_id,))}
            rows = [row for row in rows if row[-2] in there]
        return sorted(rows)

    @cached_property
    def _now(self) -> str:
        """How the list is: server, version, number of rows, and which transactions count."""
        return f"""
            SELECT pg_postmaster_start_time()::text, concat_ws('.',
                extract(epoch FROM pg_postmaster_start_time()), count(*),
                sum(hashtextextended(id, xmin::text::bigint))), count(*),
                pg_current_snapshot()::text
            FROM {self.table} WHERE project_id = %s
        """  # noqa: S608

    @cached_property
    def _since(self) -> str:
        """Rows that transactions of at most this age wrote; an old one may be taken for a young.

        In a row stands the lower half of its transaction's number, or that of a savepoint in it.
        """
        return f"""
            SELECT {", ".join(self.order)},
                (SELECT row_to_json(shown)::text FROM (SELECT {", ".join(self.columns)}) AS shown)
            FROM {self.table} WHERE project_id = %(project)s
                AND ((%(ahead)s - xmin::text::bigint) & {XIDS}) <= %(age)s
        """  # noqa: S608

    @cached_property
    def _ids(self) -> str:
        return f"SELECT id FROM {self.table} WHERE project_id = %s"  # noqa: S608
