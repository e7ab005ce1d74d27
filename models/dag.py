"""Tasks that depend on each other: whether they can be done at all, and how far each has to go."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from typing import Protocol


class Node(Protocol):
    """Anything with a key and the keys it depends on."""

    @property
    def key(self) -> str: ...

    @property
    def dependencies(self) -> Sequence[str]: ...


@dataclass(frozen=True)
class Problem:
    """Why tasks cannot be done: the fault of field `name` of the task at `index`."""

    index: int
    name: str
    message: str


def problems(nodes: Sequence[Node]) -> list[Problem]:
    """Double keys, dependencies on nobody or oneself, and a circle; nothing when all is well."""
    keys = Counter(node.key for node in nodes)
    seen: set[str] = set()
    found: list[Problem] = []
    for index, node in enumerate(nodes):
        if node.key in seen and keys[node.key] > 1:
            found.append(Problem(index, "key", f'duplicate key "{node.key}"'))
            keys[node.key] = 1  # said once
        seen.add(node.key)
        found += [
            Problem(index, "dependencies", _wrong(node.key, dependency))
            for dependency in node.dependencies
            if dependency == node.key or dependency not in keys
        ]
    return found or _circle(nodes)


def roots(nodes: Sequence[Node]) -> list[str]:
    """The tasks that depend on nobody, in order."""
    return [node.key for node in nodes if not node.dependencies]


def depth(nodes: Sequence[Node]) -> int:
    """How many dependencies follow each other at most; 0 when nobody depends on anybody."""
    return max(remaining(nodes).values(), default=1) - 1


def remaining(nodes: Sequence[Node]) -> Mapping[str, int]:
    """How many tasks are on the longest way from each task to an end, itself included."""
    links = {node.key: node.dependencies for node in nodes}
    left = dict.fromkeys(links, 1)
    for key in reversed(list(TopologicalSorter(links).static_order())):
        for dependency in links[key]:
            left[dependency] = max(left[dependency], left[key] + 1)
    return left


def _wrong(key: str, dependency: str) -> str:
    if dependency == key:
        return f'task "{key}" depends on itself'
    return f'task "{key}" depends on unknown task "{dependency}"'


def _circle(nodes: Sequence[Node]) -> list[Problem]:
    try:
        TopologicalSorter({node.key: node.dependencies for node in nodes}).prepare()
    except CycleError as error:
        way: list[str] = error.args[1][::-1]  # it names them against the arrows
        index = next(place for place, node in enumerate(nodes) if node.key in way)
        return [Problem(index, "dependencies", f"cycle {' -> '.join(way)}")]
    return []
