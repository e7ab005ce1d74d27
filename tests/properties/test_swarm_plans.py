"""Plans of swarms: whatever the tasks are and however they end, the rules hold."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from models import branches, dag
from models.swarms import CANCELLED, COMPLETED, FAILED, PENDING, READY, RUNNING, SKIPPED, TASK_OVER
from workers.swarms.plan import moves


@dataclass(frozen=True)
class Node:
    key: str
    dependencies: tuple[str, ...] = ()


@st.composite
def graphs(draw: st.DrawFn) -> list[Node]:
    """Up to twelve tasks without circles, in any order."""
    keys = [f"t{number}" for number in range(draw(st.integers(1, 12)))]
    nodes = [
        Node(key, tuple(draw(st.sets(st.sampled_from(keys[:place]), max_size=3))) if place else ())
        for place, key in enumerate(keys)
    ]
    return draw(st.permutations(nodes))


class Life:
    """A swarm that is played through: its states, and what began and ended when."""

    def __init__(self, nodes: list[Node], most: int) -> None:
        self.nodes = {node.key: node for node in nodes}
        self.most = most
        self.states = {node.key: PENDING if node.dependencies else READY for node in nodes}

    def turn(self) -> bool:
        """Make the moves that are due, under the rules; whether the swarm is over."""
        due = moves(list(self.nodes.values()), self.states, self.most)
        self._keeps_the_rules(due.start, due.ready, due.skip)
        self.states |= dict.fromkeys(due.skip, SKIPPED) | dict.fromkeys(due.ready, READY)
        self.states |= dict.fromkeys(due.start, RUNNING)
        return all(state in TASK_OVER for state in self.states.values())

    def _keeps_the_rules(
        self, start: tuple[str, ...], ready: tuple[str, ...], skip: Mapping[str, str]
    ) -> None:
        left = dag.remaining(list(self.nodes.values()))
        assert self.running() + len(start) <= self.most
        assert set(start) <= set(ready)
        for key in ready:
            assert {self.states[need] for need in self.nodes[key].dependencies} <= {COMPLETED}
        lengths = [left[key] for key in start]
        assert lengths == sorted(lengths, reverse=True)
        waiting = [left[key] for key in ready if key not in start]
        assert not start or not waiting or max(waiting) <= min(lengths)
        assert not waiting or self.running() + len(start) == self.most
        for key, reason in skip.items():
            assert self.states[key] == PENDING
            assert any(need in reason for need in self.nodes[key].dependencies)

    def running(self) -> int:
        return list(self.states.values()).count(RUNNING)


@given(graphs(), st.integers(1, 8), st.data())
def test_every_task_ends_and_nothing_begins_too_early(
    nodes: list[Node], most: int, data: st.DataObject
) -> None:
    life = Life(nodes, most)
    while not life.turn():
        working = [key for key, state in life.states.items() if state == RUNNING]
        assert working, "nothing runs and yet it is not over"
        life.states[data.draw(st.sampled_from(working))] = data.draw(
            st.sampled_from([COMPLETED, COMPLETED, FAILED, CANCELLED])
        )
    for node in nodes:
        needed = {life.states[need] for need in node.dependencies}
        assert (life.states[node.key] == SKIPPED) == bool(needed - {COMPLETED})


@given(graphs())
def test_tasks_without_circles_have_no_problems_and_a_depth(nodes: list[Node]) -> None:
    assert dag.problems(nodes) == []
    left = dag.remaining(nodes)
    assert max(left.values()) == dag.depth(nodes) + 1
    for node in nodes:
        assert all(left[need] > left[node.key] for need in node.dependencies)
    assert dag.roots(nodes) == [node.key for node in nodes if not node.dependencies]


@given(graphs(), st.data())
def test_closing_a_circle_is_noticed(nodes: list[Node], data: st.DataObject) -> None:
    linked = [node for node in nodes if node.dependencies]
    if not linked:
        return
    late = data.draw(st.sampled_from(linked))
    early = late.dependencies[0]
    closed = [Node(n.key, (*n.dependencies, late.key)) if n.key == early else n for n in nodes]
    (problem,) = dag.problems(closed)
    assert problem.message.startswith("cycle ")
    assert problem.message.split()[1] == problem.message.split()[-1]


def test_every_kind_of_problem_is_told_in_words() -> None:
    nodes = [Node("a", ("a",)), Node("b", ("x", "a")), Node("b")]
    assert [(each.index, each.name, each.message) for each in dag.problems(nodes)] == [
        (0, "dependencies", 'task "a" depends on itself'),
        (1, "dependencies", 'task "b" depends on unknown task "x"'),
        (2, "key", 'duplicate key "b"'),
    ]
    (circle,) = dag.problems([Node("a", ("c",)), Node("b", ("a",)), Node("c", ("b",))])
    way = circle.message.removeprefix("cycle ").split(" -> ")
    assert way[0] == way[-1]
    assert set(pairwise(way)) == {("a", "c"), ("c", "b"), ("b", "a")}


def test_what_depends_on_a_failure_is_skipped_to_the_end_with_the_reason() -> None:
    nodes = [Node("a"), Node("b"), Node("c", ("a", "b")), Node("d", ("c",)), Node("e", ("a",))]
    states = {"a": COMPLETED, "b": FAILED, "c": PENDING, "d": PENDING, "e": PENDING}
    due = moves(nodes, states, 3)
    assert due.skip == {"c": "dependency b failed", "d": "dependency c was skipped"}
    assert due.start == ("e",)


@given(
    st.text(st.characters(codec="utf-8"), min_size=1, max_size=128),
    st.text(max_size=60),
    st.from_regex(branches.KEY, fullmatch=True),
)
def test_branches_are_such_as_git_takes(task_id: str, title: str, key: str) -> None:
    for each in (None, key):
        branch = branches.executor_branch(branches.task_branch(task_id, title), each)
        checked = subprocess.run(["git", "check-ref-format", f"refs/heads/{branch}"], check=False)
        assert checked.returncode == 0, branch
        assert len(branch) < 250
