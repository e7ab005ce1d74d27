"""Reading a mapping key by key: every wrong value becomes a problem, never an exception."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import TypeVar

from models.grammar_yaml import DOCUMENT, Node, Problem

Number = TypeVar("Number", int, float)
SUGGESTIONS = (
    50  # looking for the word that was meant is slow, and a file full of nonsense has none
)


@dataclass
class Notes:
    """What was found on the way: errors refuse the pipeline, warnings only speak."""

    errors: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)

    def error(self, node: Node, message: str) -> None:
        self.errors.append(Problem(node.path or DOCUMENT, node.line, message))

    def warn(self, node: Node, message: str) -> None:
        self.warnings.append(Problem(node.path or DOCUMENT, node.line, message))


class Fields:
    """A mapping of the document, of which `known` keys mean something; the rest is warned about."""

    def __init__(self, node: Node, notes: Notes, known: Collection[str]) -> None:
        self.node = node
        self.notes = notes
        for key, value in node.fields.items():
            if key not in known:
                meant = suggestion(key, known) if len(notes.warnings) < SUGGESTIONS else ""
                notes.warn(value, f"unknown key `{key[:80]}` is ignored{meant}")

    def at(self, key: str) -> Node:
        """Where the key stands, or the mapping itself when it is absent: a place to point at."""
        return self.node.fields.get(key, self.node)

    def given(self, key: str) -> Node | None:
        """The key's node; None when it is absent or null."""
        node = self.node.fields.get(key)
        return None if node is None or node.value is None else node

    def text(self, key: str, most: int | None = None) -> str | None:
        """A scalar as it was written, of at most so many characters."""
        node = self.given(key)
        if node is None:
            return None
        if node.text is None:
            self.notes.error(node, "must be text")
            return None
        if most is not None and len(node.text) > most:
            self.notes.error(node, f"is longer than {most} characters")
        return node.text

    def required(self, key: str) -> str:
        """Text that must be there and say something; "" after noting that it does not."""
        if self.given(key) is None:
            place = f"{self.node.path}.{key}" if self.node.path else key
            self.notes.errors.append(Problem(place, self.node.line, "is required"))
            return ""
        text = self.text(key)
        if text is not None and not text.strip():
            self.notes.error(self.at(key), "must not be blank")
        return text or ""

    def flag(self, key: str, default: bool) -> bool:
        node = self.given(key)
        if node is None:
            return default
        if not isinstance(node.value, bool):
            self.notes.error(node, "must be true or false")
            return default
        return node.value

    def whole(self, key: str, low: int, high: int) -> int | None:
        node = self.given(key)
        if node is None:
            return None
        if isinstance(node.value, bool) or not isinstance(node.value, int):
            self.notes.error(node, "must be a whole number")
            return None
        return self._within(node, node.value, low, high)

    def number(self, key: str, low: float, high: float) -> float | None:
        node = self.given(key)
        if node is None:
            return None
        if isinstance(node.value, bool) or not isinstance(node.value, int | float):
            self.notes.error(node, "must be a number")
            return None
        inside = self._within(node, node.value, low, high)
        return None if inside is None else float(inside)

    def _within(self, node: Node, value: Number, low: Number, high: Number) -> Number | None:
        if not low <= value <= high:
            self.notes.error(node, f"must be between {low} and {high}")
            return None
        return value

    def choice(self, key: str, options: Collection[str]) -> str | None:
        text = self.text(key)
        if text is not None and text not in options:
            self.notes.error(self.at(key), f"must be one of {', '.join(options)}")
            return None
        return text

    def texts(self, key: str) -> tuple[str, ...] | None:
        """A list of texts without repetitions, None when the key is absent."""
        node = self.given(key)
        if node is None:
            return None
        if not isinstance(node.value, list):
            self.notes.error(node, "must be a list")
            return None
        for item in node.items:
            if item.text is None or not item.text.strip():
                self.notes.error(item, "must be text that is not blank")
        return tuple(dict.fromkeys(item.text for item in node.items if item.text is not None))

    def mapping(self, key: str) -> Node | None:
        node = self.given(key)
        if node is not None and not isinstance(node.value, dict):
            self.notes.error(node, "must be a mapping")
            return None
        return node

    def mappings(self, key: str) -> Iterator[Node]:
        """The mappings of a list that must be there and must not be empty."""
        node = self.given(key)
        if node is None:
            self.required(key)
        elif not isinstance(node.value, list):
            self.notes.error(node, "must be a list")
        elif not node.items:
            self.notes.error(node, "must not be empty")
        else:
            yield from self._mappings_of(node)

    def _mappings_of(self, node: Node) -> Iterator[Node]:
        for item in node.items:
            if isinstance(item.value, dict):
                yield item
            else:
                self.notes.error(item, "must be a mapping")


def suggestion(word: str, known: Collection[str]) -> str:
    close = difflib.get_close_matches(word[:40], known, n=1)
    return f"; did you mean `{close[0]}`?" if close else ""
