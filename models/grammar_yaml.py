"""YAML as a tree that remembers where everything stood: `load`, `Node`, `Problem`.

The text comes from strangers: size, depth and expanded aliases are bounded, no tag makes an object.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

MAX_BYTES = 1024 * 1024
MAX_DEPTH = 30
MAX_NODES = 50_000  # counted after aliases are expanded
MAX_NUMBER = 40  # characters; longer "numbers" stay text, YAML's base 60 is quadratic to read
DOCUMENT = "document"  # the path of what belongs to no key

YAML_TAG = "tag:yaml.org,2002:"
TYPED = {YAML_TAG + name for name in ("bool", "int", "float", "null")}
UNSTORABLE = re.compile("[\0\ud800-\udfff]")  # Postgres takes neither NUL nor half a surrogate pair
LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True)
class Problem:
    """Something to mend at a place of a pipeline's YAML; lines count from 1."""

    path: str
    line: int | None
    message: str

    def __str__(self) -> str:
        place = self.path if self.line is None else f"line {self.line}, {self.path}"
        return f"{place}: {self.message}"


@dataclass(frozen=True)
class Node:
    """A value with its place; `text` is a scalar as it was written, None for anything else.

    Keeping the text makes `version: 1.0` and `onComplete: NO` mean what their author sees.
    """

    path: str
    line: int
    value: Any
    text: str | None = None
    items: tuple[Node, ...] = ()
    fields: Mapping[str, Node] = field(default_factory=dict)


class Unreadable(Exception):
    """The document cannot be taken in at all; carries the one problem that says why."""

    def __init__(self, message: str, line: int | None = None, path: str = DOCUMENT) -> None:
        super().__init__(message)
        self.problem = Problem(path, line, message)


def load(text: str) -> tuple[Node | None, list[Problem]]:
    """The document's tree and what is wrong with it; None when there is no tree to speak of."""
    try:
        refuse_bulk(text)
        root = composed(text)
        grower = Grower()
        return grower.grow(root, "", 0), grower.problems
    except Unreadable as unreadable:
        return None, [unreadable.problem]


def refuse_bulk(text: str) -> None:
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise Unreadable("the text is not valid Unicode") from None
    if size > MAX_BYTES:
        raise Unreadable(f"the file has {size} bytes, more than {MAX_BYTES}")


def composed(text: str) -> yaml.Node:
    """The YAML nodes."""
    try:
        measure(text)
        root = yaml.compose(text, Loader=LOADER)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        message = error.problem or "not valid YAML"
        raise Unreadable(message, None if mark is None else mark.line + 1) from error
    except (yaml.YAMLError, ValueError) as error:
        raise Unreadable(f"not valid YAML: {error}".splitlines()[0]) from error
    if root is None:
        raise Unreadable("the file is empty", 1)
    return root


def measure(text: str) -> None:
    """Refuse depth and bulk on the stream of events, because composing recurses in C."""
    depth = 0
    for count, event in enumerate(yaml.parse(text, Loader=LOADER)):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > MAX_DEPTH:
            raise Unreadable(f"nested deeper than {MAX_DEPTH} levels", line_of(event))
        if count > 2 * MAX_NODES:  # a collection has a start and an end
            raise Unreadable(f"more than {MAX_NODES} values", line_of(event))


def line_of(marked: Any) -> int:
    """The line (from 1) where a YAML node or event starts."""
    return int(marked.start_mark.line) + 1


class Grower:
    """Turns YAML nodes into ours, within a budget, collecting what is wrong on the way."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self._left = MAX_NODES

    def grow(self, node: yaml.Node, path: str, depth: int) -> Node:
        self._left -= 1
        if self._left < 0:
            raise Unreadable(f"more than {MAX_NODES} values once aliases are expanded")
        if depth > MAX_DEPTH:
            raise Unreadable(f"nested deeper than {MAX_DEPTH} levels", line_of(node))
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, path)
        self._refuse_tag(node, path, ("map", "seq"))
        if isinstance(node, yaml.SequenceNode):
            parts = [self.grow(n, f"{path}[{i}]", depth + 1) for i, n in enumerate(node.value)]
            return Node(path, line_of(node), [n.value for n in parts], items=tuple(parts))
        fields = self._fields(node, path, depth)
        values = {key: each.value for key, each in fields.items()}
        return Node(path, line_of(node), values, fields=fields)

    def _fields(self, node: yaml.Node, path: str, depth: int) -> dict[str, Node]:
        fields: dict[str, Node] = {}
        merged: dict[str, Node] = {}
        for key_node, value_node in node.value:
            if key_node.tag == YAML_TAG + "merge":
                merged |= self._merged(value_node, path, depth)
                continue
            if not isinstance(key_node, yaml.ScalarNode):
                self._note(path, key_node, "a key must be plain text")
                continue
            key = self._stored(key_node, path)
            place = f"{path}.{key[:80]}" if path else key[:80]
            if key in fields:
                self._note(place, key_node, f"`{key}` is given twice")
            fields[key] = self.grow(value_node, place, depth + 1)
        return merged | fields

    def _merged(self, node: yaml.Node, path: str, depth: int) -> dict[str, Node]:
        """The keys that `<<` brings in; of several mappings the first to name a key wins."""
        several = isinstance(node, yaml.SequenceNode)
        sources = node.value if several else [node]
        found: dict[str, Node] = {}
        for source in sources:
            if isinstance(source, yaml.MappingNode):
                found = dict(self.grow(source, path, depth + 1).fields) | found
            else:
                self._note(path, source, "`<<` takes a mapping or a list of mappings")
        return found

    def _scalar(self, node: yaml.ScalarNode, path: str) -> Node:
        text = self._stored(node, path)
        if not node.tag.startswith(YAML_TAG):
            self._refuse_tag(node, path, ())
        return Node(path, line_of(node), plain(node) if node.tag in TYPED else text, text)

    def _stored(self, node: yaml.ScalarNode, path: str) -> str:
        """The scalar's text; what no database column can hold is noted and replaced."""
        text, unstorable = UNSTORABLE.subn("\ufffd", str(node.value))
        if unstorable:
            self._note(path, node, "holds a character that cannot be stored")
        return text

    def _refuse_tag(self, node: yaml.Node, path: str, allowed: tuple[str, ...]) -> None:
        if node.tag not in {YAML_TAG + name for name in allowed}:
            self._note(path, node, f"the tag `{node.tag}` has no meaning here")

    def _note(self, path: str, node: yaml.Node, message: str) -> None:
        self.problems.append(Problem(path or DOCUMENT, line_of(node), message))


def plain(node: yaml.ScalarNode) -> Any:
    """A typed scalar as Python's own value; what is no finite number after all stays text."""
    text = str(node.value)
    if len(text) > MAX_NUMBER:
        return text
    try:
        value = yaml.constructor.SafeConstructor().construct_object(node)
    except (ValueError, OverflowError, KeyError):
        return text
    if isinstance(value, float) and not math.isfinite(value):
        return text
    return value
