"""Boards: whatever people do to them, the rules hold, and nothing is ever stuck for good."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from models import kanban, plans, schedule, shelf, stages, work_types
from models.kanban import Board, Card, Lane, Semantics
from models.plans import Plan, Planned
from models.schedule import Job
from models.stages import SKIP, STAGES, WORK_TYPES, Standing

TEMPLATES = sorted((shelf.SHIPPED / "templates").glob("*.yml"))


def board_of(path: Path) -> Board:
    told = yaml.safe_load(path.read_text())
    lanes = [Lane(each["name"], tuple(each["statuses"])) for each in told["columns"]]
    return Board(tuple(lanes), Semantics.of(told["status_semantics"]))


BOARDS = {path.stem: board_of(path) for path in TEMPLATES}
SOFTWARE = BOARDS["software-dev"]
POLICY = stages.spelled(
    yaml.safe_load((shelf.SHIPPED / "templates/software-dev.yml").read_text())["stages"]
)


@st.composite
def decks(draw: st.DrawFn, board: Board, parents: bool = True) -> dict[str, Card]:
    """Up to nine tasks without circles; parents come after their parts, so none are closed."""
    ids = [f"t{number}" for number in range(draw(st.integers(1, 9)))]
    cards = {}
    for place, name in enumerate(ids):
        before = st.sampled_from(ids[:place]) if place else st.nothing()
        later = st.sampled_from(ids[place + 1 :]) if parents and ids[place + 1 :] else st.nothing()
        cards[name] = Card(
            name,
            draw(st.sampled_from(board.statuses)),
            parent=draw(st.none() | later),
            blockers=tuple(draw(st.sets(before, max_size=3))) if place else (),
            busy=draw(st.integers(0, 9)) == 0,
        )
    return cards


class Life:
    """A board that people play with."""

    def __init__(self, board: Board, cards: Mapping[str, Card]) -> None:
        self.board = board
        self.cards = dict(cards)
        self.settle({}, list(cards))

    def move(self, task_id: str, status: str) -> list[kanban.Change]:
        before = self.cards[task_id].status
        if before == status:
            return []
        self.cards[task_id] = replace(self.cards[task_id], status=status, held_from=None)
        return self.settle({task_id: before})

    def settle(
        self, was: Mapping[str, str | None], look: Sequence[str] = ()
    ) -> list[kanban.Change]:
        changes = kanban.settle(self.board, self.cards.values(), was, look)
        assert len({change.task_id for change in changes}) == len(changes)
        for change in changes:
            assert change.status in self.board.statuses
            card = self.cards[change.task_id]
            assert not card.busy
            self.cards[change.task_id] = replace(
                card, status=change.status, held_from=change.held_from
            )
        return changes


@st.composite
def lives(draw: st.DrawFn) -> tuple[Life, list[tuple[str, str]]]:
    board = draw(st.sampled_from(list(BOARDS.values())))
    cards = draw(decks(board))
    moves = st.tuples(st.sampled_from(sorted(cards)), st.sampled_from(board.statuses))
    return Life(board, cards), draw(st.lists(moves, max_size=8))


@given(lives())
def test_what_is_held_up_by_a_failure_has_one_before_it(played: tuple[Life, list[Any]]):
    life, moves = played
    for task_id, status in moves:
        life.move(task_id, status)
        for card in life.cards.values():
            blockers = [life.cards[each] for each in card.blockers]
            if card.held_from is not None and card.id != task_id:
                assert any(
                    life.board.failed(each.status) or each.held_from is not None
                    for each in blockers
                ), card


@given(lives())
def test_settled_is_settled(played: tuple[Life, list[Any]]):
    life, moves = played
    for task_id, status in moves:
        changed = [change.task_id for change in life.move(task_id, status)]
        assert life.settle({}, [each for each in changed if each != task_id]) == []


@given(decks(SOFTWARE, parents=False), st.data())
def test_reopening_what_failed_gives_everything_back(cards: dict[str, Card], data: st.DataObject):
    life = Life(SOFTWARE, cards)
    open_ones = [c.id for c in life.cards.values() if not SOFTWARE.over(c.status)]
    if not open_ones:
        return
    chosen = data.draw(st.sampled_from(open_ones))
    before = {card.id: card.status for card in life.cards.values()}
    if life.cards[chosen].held_from is not None:
        return  # it had been held up itself: what it goes back to is another thing
    life.move(chosen, "failed")
    life.move(chosen, before[chosen])
    assert {card.id: card.status for card in life.cards.values()} == before


@given(decks(SOFTWARE, parents=False))
def test_when_all_is_done_that_a_task_waits_for_it_does_not_wait(cards: dict[str, Card]):
    life = Life(SOFTWARE, {each.id: replace(each, busy=False) for each in cards.values()})
    for task_id in list(cards):  # blockers come first
        card = life.cards[task_id]
        if card.blockers:
            assert card.held_from is None
            assert card.status not in ("backlog", "blocked")
        life.move(task_id, "done")


@given(decks(SOFTWARE))
def test_a_parent_is_done_when_all_of_its_parts_are(cards: dict[str, Card]):
    life = Life(SOFTWARE, {each.id: replace(each, busy=False) for each in cards.values()})
    parents = {each.parent for each in cards.values()} - {None}
    for task_id in [each for each in cards if each not in parents]:
        life.move(task_id, "done")
    assert all(life.cards[str(parent)].status == "done" for parent in parents)


@given(decks(SOFTWARE), st.data())
def test_a_dependency_closes_a_circle_or_none(cards: dict[str, Card], data: st.DataObject):
    names = st.sampled_from(sorted(cards))
    before, after = data.draw(names), data.draw(names)
    way = kanban.closes_circle(cards.values(), before, after)
    if way:
        assert (way[0], way[-1]) == (after, before)
        return
    blockers = (*cards[after].blockers, before)
    deck = cards | {after: replace(cards[after], blockers=blockers)}
    kanban.settle(SOFTWARE, deck.values(), {}, list(deck))  # raises CycleError if there is one


policies = st.dictionaries(
    st.sampled_from(WORK_TYPES),
    st.text("ros", min_size=len(STAGES), max_size=len(STAGES)),
).map(stages.spelled)


def reached(board: Board, rules: stages.Rules, start: Standing) -> set[str]:
    """Every status that can be come to from `start` by allowed moves."""
    seen, waiting = {start}, [start]
    while waiting:
        here = waiting.pop()
        for status in board.statuses:
            if status == here.status or stages.refusal(board, rules, here, status):
                continue
            there = Standing(
                status, here.work_type, tuple(stages.completed_by(board, here, status))
            )
            if there not in seen:
                seen.add(there)
                waiting.append(there)
    return {each.status for each in seen}


@pytest.mark.parametrize("kind", [*WORK_TYPES, None])
def test_with_the_usual_policy_done_is_reachable_from_everywhere(kind: str | None):
    rules = stages.rules_for(POLICY, kind)
    for status in SOFTWARE.statuses:
        assert "done" in reached(SOFTWARE, rules, Standing(status, kind)), status


@given(policies, st.sampled_from(sorted(BOARDS)), st.data())
def test_no_policy_has_a_dead_end(policy: stages.Policy, name: str, data: st.DataObject):
    board = BOARDS[name]
    kind = data.draw(st.sampled_from(WORK_TYPES))
    completed = data.draw(st.sets(st.sampled_from(STAGES)))
    start = Standing(data.draw(st.sampled_from(board.statuses)), kind, tuple(sorted(completed)))
    ends = set(board.means.terminal_done)
    assert ends & ({start.status} | reached(board, stages.rules_for(policy, kind), start))


@given(policies, st.data())
def test_what_is_said_to_be_next_is_allowed(policy: stages.Policy, data: st.DataObject):
    kind = data.draw(st.sampled_from(WORK_TYPES))
    completed = tuple(data.draw(st.sets(st.sampled_from(STAGES))))
    standing = Standing(data.draw(st.sampled_from(SOFTWARE.statuses)), kind, completed)
    rules = stages.rules_for(policy, kind)
    for status in stages.next_statuses(SOFTWARE, rules, standing):
        assert stages.refusal(SOFTWARE, rules, standing, status) is None


def test_required_stages_are_not_jumped_over_and_skipped_ones_not_entered():
    feature = stages.rules_for(POLICY, "feature")
    assert stages.refusal(SOFTWARE, feature, Standing("backlog", "feature"), "done")
    done = Standing("test", "feature", ("implement", "review"))
    assert stages.refusal(SOFTWARE, feature, done, "done") is None
    design = stages.rules_for(POLICY, "design")
    assert stages.refusal(SOFTWARE, design, Standing("ux", "design"), "in_progress")
    assert SKIP in {rule["disposition"] for rule in design}


def test_going_on_completes_and_going_back_undoes():
    def moved(*statuses: str) -> list[str]:
        standing = Standing(statuses[0], "feature")
        for status in statuses[1:]:
            done = stages.completed_by(SOFTWARE, standing, status)
            standing = Standing(status, "feature", tuple(done))
        return list(standing.completed)

    assert moved("ready", "in_progress") == []
    assert moved("ready", "in_progress", "review", "test") == ["implement", "review"]
    assert moved("ready", "review", "in_progress") == []
    assert moved("ready", "review", "blocked", "review") == ["implement"]
    assert moved("ready", "review", "test", "done") == ["implement", "review", "test"]


@st.composite
def jobs(draw: st.DrawFn) -> list[Job]:
    ids = [f"j{number}" for number in range(draw(st.integers(0, 12)))]
    return draw(
        st.permutations(
            [
                Job(
                    name,
                    draw(st.floats(0.25, 40)),
                    tuple(draw(st.sets(st.sampled_from(ids[:place]), max_size=3))) if place else (),
                )
                for place, name in enumerate(ids)
            ]
        )
    )


@given(jobs())
def test_a_schedule_keeps_the_order_and_its_critical_path_is_as_long_as_it_is(found: list[Job]):
    plan = schedule.scheduled(found)
    for job in found:
        slot = plan.slots[job.id]
        assert slot.end == slot.start + job.hours
        assert all(plan.slots[need].end <= slot.start for need in job.needs)
    hours = {job.id: job.hours for job in found}
    assert sum(hours[each] for each in plan.critical) == pytest.approx(plan.hours)
    assert sorted(plan.order) == sorted(hours)


answers = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["tasks", "title", "key", "dependencies", "tags", "parent_key", "x"]),
            inner,
            max_size=5,
        )
    ),
    max_leaves=20,
)


@given(st.dictionaries(st.sampled_from([n for names in plans.LISTS for n in names]), answers))
def test_whatever_agents_answer_makes_a_plan_without_circles(told: dict[str, Any]):
    plan = plans.answered({name: json.dumps(value) for name, value in told.items()})
    keys = {task.key for task in plan.tasks}
    assert plans.circle(plan) == []
    assert all(set(task.needs) <= keys for task in plan.tasks)
    assert all(task.parent is None or task.parent in keys for task in plan.tasks)


def test_two_tasks_with_the_same_key_are_both_kept():
    rows = [{"key": "T1", "title": "One"}, {"key": "T1", "title": "Two"}]
    plan = plans.answered({"validated_tasks_json": json.dumps(rows)})
    assert [task.title for task in plan.tasks] == ["One", "Two"]
    assert len({task.key for task in plan.tasks}) == 2


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=12))
def test_a_plan_loses_no_task_to_a_circle(pairs: list[tuple[int, int]]):
    needs: dict[int, list[str]] = {number: [] for number in range(6)}
    for before, after in pairs:
        needs[after].append(f"k{before}")
    tasks = [Planned(f"k{n}", f"Task number {n}", needs=tuple(needs[n])) for n in needs]
    plan = plans.without_circles(Plan(plans.linked(tasks).tasks))
    assert plans.circle(plan) == []
    assert [task.key for task in plan.tasks] == [task.key for task in tasks]


@pytest.mark.parametrize(
    ("tags", "title", "kind"),
    [
        (["qa", "bug"], "Build the login", "test"),
        ([], "Fix the tests", "bugfix"),
        ([], "Test the deployment", "test"),
        ([], "Write the README", "docs"),
        ([], "Add a guide", "docs"),
        ([], "Add the login page", "feature"),
        ([], "Prefix the names", None),
        ([], "Think", None),
    ],
)
def test_the_kind_of_work_is_told_by_tags_then_by_words(
    tags: list[str], title: str, kind: str | None
):
    assert work_types.inferred(tags, title) == kind
