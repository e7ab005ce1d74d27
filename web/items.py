"""What the live stream brings: items that all clients share, and the frames made of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from models import events, streams
from web.positions import Entry, entry_of

Payload = dict[str, Any]


class Item:
    """An entry of the stream; without a body it says: look for yourself."""

    __slots__ = ("body", "entry", "rendered", "topic")

    def __init__(self, entry: Entry, body: Payload | None = None) -> None:
        self.entry = entry
        self.body = body
        self.topic: str | None = (body or {}).get("run")
        self.rendered: dict[Any, bytes] = {}  # frames that several clients send alike


NUDGE = Item((0, 0))
GAP = Item((0, 0), {"type": "stream_gap", "run": None, "seq": None, "owner": None, "data": {}})
KNOWN_BY = {"type", "run", "seq", "owner", "data", "at"}


def items_of(entries: Iterable[tuple[bytes, Any]]) -> list[Item]:
    """Stream entries as items; what another version has told in other words says nothing."""
    bodies = [(entry_of(body.pop("entry")), body) for body in streams.decoded(entries)]
    return [Item(entry, body if body.keys() >= KNOWN_BY else None) for entry, body in bodies]


def payload_of(body: Payload | None) -> Payload:
    """A stream entry as clients read it."""
    body = body or {}
    about = {"runId": body["run"]} if body.get("run") else {}
    return events.payload(body["type"], about | body["data"], body["at"])
