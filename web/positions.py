"""Positions in event streams: what `id:` lines carry and `Last-Event-ID` brings back."""

from __future__ import annotations

import re
from dataclasses import dataclass

from models.errors import Invalid

Entry = tuple[int, int]  # a Redis stream id: milliseconds, sequence
_ENTRY = re.compile(r"([0-9]{1,19})(?:-([0-9]{1,19}))?")
_RUN = re.compile(r"([0-9]{1,9})(?:\.([0-9]{1,19}-[0-9]{1,19}))?")
_NUMBER = "([0-9]{1,9})"
_CHAT = re.compile(rf"{_NUMBER}(?:\.{_NUMBER}\.{_NUMBER}\.{_NUMBER})?")
START = (0, 0)


@dataclass(frozen=True)
class RunPosition:
    """After durable event `seq` (None: live only) and, if it was a delta, that stream entry."""

    seq: int | None
    entry: Entry | None = None


def run_position(text: str) -> RunPosition:
    """Read the position in one run's stream: `0`, `$`, `<seq>` or `<seq>.<entry>`."""
    if text == "$":
        return RunPosition(None)
    found = _RUN.fullmatch("0" if text == "0-0" else text)
    if not found:
        raise refused(text)
    return RunPosition(int(found[1]), entry_of(found[2]) if found[2] else None)


@dataclass(frozen=True)
class ChatPosition:
    """After event `seq` (None: the newest) and so much of the reply that follows event `after`."""

    seq: int | None
    after: int = 0
    text: int = 0
    thinking: int = 0


def chat_position(text: str) -> ChatPosition:
    """Read the position in a chat: `0`, `$`, `<seq>` or `<seq>.<after>.<text>.<thinking>`."""
    if text == "$":
        return ChatPosition(None)
    found = _CHAT.fullmatch("0" if text == "0-0" else text)
    if not found:
        raise refused(text)
    return ChatPosition(*[int(number or 0) for number in found.groups()])


def entry_position(text: str) -> Entry | None:
    """Read the position in the stream of everything: `0`, `$` (None: live only) or an entry."""
    return None if text == "$" else entry_of(text)


def entry_of(text: str) -> Entry:
    """A Redis stream id as numbers, which compare as it does."""
    found = _ENTRY.fullmatch(text)
    if not found:
        raise refused(text)
    return int(found[1]), int(found[2] or 0)


def written(entry: Entry) -> str:
    """A Redis stream id as text."""
    return f"{entry[0]}-{entry[1]}"


def refused(text: str) -> Invalid:
    """The error for a position that no stream of ours gave out."""
    fault = {"loc": ["query", "since"], "msg": "Not an event id.", "type": "invalid"}
    return Invalid(f"{text[:100]!r} is not an event id, 0 or $", errors=[fault])
