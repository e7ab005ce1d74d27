"""What a swarm does next: a pure decision over its tasks and their states."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from models import dag
from models.dag import Node
from models.swarms import CANCELLED, COMPLETED, FAILED, PENDING, READY, RUNNING, SKIPPED

LOST = (FAILED, SKIPPED, CANCELLED)


@dataclass(frozen=True)
class Moves:
    """What is due now, by key: `skip` tells why, `start` has the most urgent first.

    `ready` are tasks whose dependencies are done, whether or not there is room to start them.
    """

    skip: Mapping[str, str]
    ready: tuple[str, ...]
    start: tuple[str, ...]


def moves(nodes: Sequence[Node], states: Mapping[str, str], most: int) -> Moves:
    """The moves that are due when tasks stand like this and at most `most` may run at once."""
    skip = _skipped(nodes, states)
    ready = tuple(
        node.key
        for node in nodes
        if states[node.key] == READY or (states[node.key] == PENDING and _done(node, states))
    )
    left = dag.remaining(nodes)
    free = max(0, most - sum(state == RUNNING for state in states.values()))
    start = tuple(sorted(ready, key=lambda key: -left[key])[:free])  # equals in their order
    return Moves(skip, ready, start)


def _done(node: Node, states: Mapping[str, str]) -> bool:
    return all(states[dependency] == COMPLETED for dependency in node.dependencies)


def _skipped(nodes: Sequence[Node], states: Mapping[str, str]) -> dict[str, str]:
    """The tasks that can never begin, with the reason; what depends on them can neither."""
    skip: dict[str, str] = {}
    standing = dict(states)
    waiting = [node for node in nodes if states[node.key] == PENDING]
    while True:
        lost = {
            node.key: next((d for d in node.dependencies if standing[d] in LOST), None)
            for node in waiting
            if node.key not in skip
        }
        found = {key: dependency for key, dependency in lost.items() if dependency}
        if not found:
            return skip
        for key, dependency in found.items():
            skip[key] = f"dependency {dependency} {_word(standing[dependency])}"
            standing[key] = SKIPPED


def _word(state: str) -> str:
    return "was skipped" if state == SKIPPED else f"was {state}" if state == CANCELLED else state
