"""Where a conversation differs from its record, in words for a person."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import Any

from models import ledger
from models.ledger import Entry
from workers.agents.tools.base import bounded
from workers.llm.base import Call, Message

SHOWN = 300  # characters of each side
TITLES = {"system": "system prompt", "user": "task message"}


class Differs(Exception):
    """What is done now is not what is on record; the message names the first difference."""


def act(entry: Entry) -> str:
    """An act on record, as a person would name it."""
    return f"a call of {entry.name}" if entry.kind == ledger.TOOL else f"a question to {entry.name}"


def openings(before: Sequence[Message], now: Sequence[Message]) -> str | None:
    """The first line in which two openings of a conversation differ; None when none does."""
    for was, is_now in zip(before, now, strict=True):
        if was != is_now:
            title = TITLES.get(was.role, was.role)
            return f"the {title} differs in {lines(was.text, is_now.text)}"
    return None


def lines(before: str, now: str) -> str:
    """The first line in which two texts differ."""
    pairs = zip_longest(before.splitlines(), now.splitlines())
    different = ((number, pair) for number, pair in enumerate(pairs, 1) if pair[0] != pair[1])
    number, (was, is_now) = next(different, (1, (before, now)))
    return f"line {number}: {values(was, is_now)}"


def questions(before: Mapping[str, Any] | None, now: Mapping[str, Any]) -> str:
    """Which part of how a model is asked differs; with none it is the conversation so far."""
    for name, value in now.items():
        was = (before or {}).get(name)
        if was != value:
            return f"what the model is asked with differs in {name}: {values(was, value)}"
    return "the messages that the model is sent differ from those on record"


def calls(entry: Entry, call: Call) -> str:
    """How a call of a tool differs from the one on record."""
    if entry.name != call.name[:256]:
        return f"it calls {call.name} here, on record is: {act(entry)}"
    return f"it calls {call.name} with other arguments: {bounded(call.arguments, SHOWN)}"


def outputs(before: Mapping[str, str], now: Mapping[str, str]) -> str | None:
    """The first output in which two handovers differ; None when they are equal."""
    for key in [*now, *before]:
        if before.get(key) != now.get(key):
            return f"the output {key} differs: {values(before.get(key), now.get(key))}"
    return None


def values(before: object, now: object) -> str:
    """Two values side by side, the beginning of a difference in sight."""
    return f"on record {_shown(before)}, now {_shown(now)}"


def _shown(value: object) -> str:
    return "nothing" if value is None else f'"{bounded(str(value), SHOWN)}"'
