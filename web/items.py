"""What the live stream brings: items that all clients share, and the frames made of them."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

from models import events, streams
from models.principals import Principal
from web.positions import Entry, entry_of

Payload = dict[str, Any]
Topic = tuple[str, str | None]
RUN, OWNER, PROJECT = "run", "owner", "project"
ADMINS: Topic = ("admins", None)
OPEN: Topic = ("open", None)  # whoever follows everything


class Item:
    """An entry of the stream; without a body it says: look for yourself.

    `topics` says who hears of it: who follows its run, and of those who follow everything whoever
    may see it.
    """

    __slots__ = ("body", "entry", "rendered", "topics")

    def __init__(self, entry: Entry, body: Payload | None = None) -> None:
        self.entry = entry
        self.body = body
        self.topics: Collection[Topic] = topics_of(body) if body else ()
        self.rendered: dict[Any, bytes] = {}  # frames that several clients send alike


def topics_of(body: Payload) -> Collection[Topic]:
    """The topics of what happened."""
    return (RUN, body["run"]), (OWNER, body["owner"]), (PROJECT, body.get("project")), ADMINS


def shown(principal: Principal, projects: Iterable[str]) -> Collection[Topic]:
    """The topics of somebody who follows everything and works on these projects."""
    if principal.is_admin:
        return OPEN, ADMINS
    return frozenset([OPEN, (OWNER, principal.id), *((PROJECT, one) for one in projects)])


NUDGE = Item((0, 0))
GAP = Item((0, 0), {"type": "stream_gap", "run": None, "seq": None, "owner": None, "data": {}})
GAP.topics = (OPEN,)
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
