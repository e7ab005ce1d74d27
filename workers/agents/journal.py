"""Where a conversation stands in the ledger of its execution."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

from models import ledger
from models.ledger import Entry
from workers.workspaces import Savepoint


class Diverged(Exception):
    """The conversation goes another way than its record from act number `seq` on."""

    def __init__(self, seq: int) -> None:
        super().__init__(f"the record goes another way from act {seq} on")
        self.seq = seq


class Journal:
    """The acts an execution has on record, gone through in order, and those that come after."""

    def __init__(self, execution_id: str, entries: Sequence[Entry] = ()) -> None:
        self.execution_id = execution_id
        self.entries = list(entries)
        self.place = 0

    @classmethod
    def read(cls, execution_id: str) -> Self:
        """The journal as the ledger has it, to be gone through from the beginning."""
        return cls(execution_id, ledger.of(execution_id))

    @property
    def opening(self) -> Entry | None:
        """What the conversation opened with, if it ever began."""
        return self.entries[0] if self.entries and self.entries[0].sealed else None

    @property
    def savepoints(self) -> list[Savepoint]:
        """How the files stood after each act that changed them."""
        return [
            Savepoint(entry.commit, entry.snapshot)
            for entry in self.entries
            if entry.commit and entry.snapshot
        ]

    @property
    def ahead(self) -> bool:
        """Whether acts on record are still to be gone through."""
        return self.place < len(self.entries)

    def next(self, kind: str, name: str, key: str) -> Entry:
        """The act at the next place: the one on record, else a new one.

        Raises Diverged where the conversation takes another way than before, because the program
        or a definition has changed: a tool call that is not the one on record.
        """
        place = self.place
        self.place += 1
        if place < len(self.entries):
            entry = self.entries[place]
            if entry.kind == kind and (kind != ledger.TOOL or entry.key == key):
                return entry
            raise Diverged(place)
        return self._new(place, kind, name, key)

    def _new(self, place: int, kind: str, name: str, key: str) -> Entry:
        return Entry(
            execution_id=self.execution_id, seq=place, kind=kind, name=name[:256], key=key, tries=0
        )

    def asked_by(self, entry: Entry) -> str:
        """The name under which an act asks others to do something, the same at each try."""
        return f"{self.execution_id}:{entry.seq}"
