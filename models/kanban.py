"""The rules of a board: what its statuses mean, and what the change of one task brings about.

Plain values in, plain values out; nothing here knows the database.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from graphlib import TopologicalSorter
from typing import Any, Self

MEANINGS = ("initial", "terminal_done", "terminal_fail", "blocked", "in_progress", "claimable")
READY = "ready"  # the status in which work waits for somebody, on boards that have it

MET, FAILED, FREED = "all_dependencies_met", "dependency_failed", "dependency_unblocked"
UNMET, CHILDREN = "dependencies_unmet", "subtasks"  # reasons that events name


@dataclass(frozen=True)
class Semantics:
    """What a board's statuses mean, each list in its owner's order."""

    initial: tuple[str, ...] = ()
    terminal_done: tuple[str, ...] = ()
    terminal_fail: tuple[str, ...] = ()
    blocked: tuple[str, ...] = ()
    in_progress: tuple[str, ...] = ()
    claimable: tuple[str, ...] = ()

    @classmethod
    def of(cls, told: Mapping[str, Any] | None) -> Self:
        """As a project says it; those of software development where it says nothing."""
        said = SOFTWARE if told is None else told
        return cls(**{name: tuple(said.get(name) or ()) for name in MEANINGS})


SOFTWARE: Mapping[str, Sequence[str]] = {
    "initial": ("backlog",),
    "terminal_done": ("done",),
    "terminal_fail": ("failed",),
    "blocked": ("blocked",),
    "in_progress": ("in_progress",),
    "claimable": ("backlog", "planning", "planned", "ux", "ready", "test", "failed"),
}


def derived(columns: Sequence[Sequence[str]]) -> dict[str, list[str]]:
    """What the statuses of columns mean when nobody says: the first is open, the last done."""
    statuses = [status for column in columns for status in column]
    first, last = statuses[:1], statuses[-1:]
    return {"initial": first, "claimable": first, "terminal_done": last if last != first else []}


@dataclass(frozen=True)
class Lane:
    """A column as the rules see it."""

    id: str
    statuses: tuple[str, ...]
    wip_limit: int | None = None


@dataclass(frozen=True)
class Board:
    """The columns of a project, in order, and what their statuses mean."""

    lanes: tuple[Lane, ...]
    means: Semantics

    @property
    def statuses(self) -> tuple[str, ...]:
        """Every status a task may have here, in the order of the columns."""
        return tuple(status for lane in self.lanes for status in lane.statuses)

    def lane_of(self, status: str) -> Lane | None:
        """The column that has this status."""
        return next((lane for lane in self.lanes if status in lane.statuses), None)

    def first(self, meaning: str) -> str | None:
        """The first status with a meaning that this board has."""
        known = self.statuses
        return next((each for each in getattr(self.means, meaning) if each in known), None)

    @property
    def ready(self) -> str | None:
        """Where work goes that nothing holds up any more."""
        if READY in self.statuses:
            return READY
        return self.first("claimable") or self.first("initial")

    @property
    def working(self) -> str | None:
        """Where work goes that somebody has begun; None where a board has no such status."""
        named = "in_progress" if "in_progress" in self.statuses else None
        return self.first("in_progress") or named

    def done(self, status: str) -> bool:
        return status in self.means.terminal_done

    def failed(self, status: str) -> bool:
        return status in self.means.terminal_fail

    def over(self, status: str) -> bool:
        return self.done(status) or self.failed(status)

    def startable(self, status: str) -> bool:
        """Whether work on a task may begin from this status."""
        return status in self.means.claimable or status in self.means.initial

    def begun(self, status: str) -> bool:
        """Whether somebody works on it: from the first column of work on, until it is over."""
        if self.over(status) or status in self.means.blocked:
            return False
        places = [place for place, lane in enumerate(self.lanes) if self._works(lane)]
        lane = self.lane_of(status)
        return bool(places) and lane is not None and self.lanes.index(lane) >= places[0]

    def _works(self, lane: Lane) -> bool:
        return self.working is not None and self.working in lane.statuses

    def placement(self, has_parent: bool) -> tuple[Lane, str] | None:
        """Where a new task goes when nobody says; None when there is no column with a status."""
        ready = self.lane_of(READY)
        if ready is not None and not has_parent:
            return ready, READY
        initial = self.first("initial")
        status = initial or next(iter(self.statuses), None)
        lane = self.lane_of(status) if status else None
        return (lane, status) if lane and status else None


@dataclass(frozen=True)
class Card:
    """A task as the rules see it; `held_from` is its status before a failure blocked it."""

    id: str
    status: str
    parent: str | None = None
    blockers: tuple[str, ...] = ()
    held_from: str | None = None
    busy: bool = False  # a run works on it, and will say itself what comes of it


@dataclass(frozen=True)
class Change:
    """What a task becomes by what became of others."""

    task_id: str
    status: str
    held_from: str | None
    reason: str


@dataclass
class _Pass:
    """One way through the tasks, those first that others wait for."""

    board: Board
    cards: dict[str, Card]
    was: dict[str, str | None]  # the former status of whatever changed; None: it was not there
    look: Collection[str]
    children: dict[str, list[str]] = field(default_factory=dict)


def settle(
    board: Board,
    cards: Iterable[Card],
    was: Mapping[str, str | None],
    look: Collection[str] = (),
) -> list[Change]:
    """What follows from the tasks in `was` having become what they are now.

    Dependants of what failed are blocked, those of what is done become ready, those of what was
    reopened go back to where they were; parents follow their subtasks. Tasks in `look` are judged
    anew themselves, because what they depend on changed. Each changes at most once.
    """
    known = {card.id: card for card in cards}
    going = _Pass(board, known, dict(was), look)
    for card in known.values():
        if card.parent in known:
            going.children.setdefault(str(card.parent), []).append(card.id)
    changes = []
    for task_id in _ordered(known):
        change = _changed(going, known[task_id])
        if change is not None:
            changes.append(change)
            going.was[task_id] = known[task_id].status
            known[task_id] = replace(
                known[task_id], status=change.status, held_from=change.held_from
            )
    return changes


def closes_circle(cards: Iterable[Card], before: str, after: str) -> list[str]:
    """The way from `after` to `before` that a new dependency would make a circle; [] if none.

    A parent waits for its subtasks as well.
    """
    leads: dict[str, list[str]] = {}
    for card in cards:
        for blocker in card.blockers:
            leads.setdefault(blocker, []).append(card.id)
        if card.parent is not None:
            leads.setdefault(card.id, []).append(card.parent)
    came: dict[str, str | None] = {after: None}
    waiting = [after]
    while waiting and before not in came:
        here = waiting.pop()
        for there in leads.get(here, ()):
            if there not in came:
                came[there] = here
                waiting.append(there)
    way: list[str] = []
    place: str | None = before if before in came else None
    while place is not None:
        way.append(place)
        place = came[place]
    return way[::-1]


def _ordered(cards: Mapping[str, Card]) -> Iterable[str]:
    graph: TopologicalSorter[str] = TopologicalSorter()
    for card in cards.values():
        graph.add(card.id, *(blocker for blocker in card.blockers if blocker in cards))
        if card.parent in cards:
            graph.add(str(card.parent), card.id)
    return graph.static_order()


def _changed(going: _Pass, card: Card) -> Change | None:
    children = [going.cards[each] for each in going.children.get(card.id, ())]
    blockers = [going.cards[each] for each in card.blockers if each in going.cards]
    stirred = any(each.id in going.was for each in (*children, *blockers))
    if card.busy or card.id in going.was or not (stirred or card.id in going.look):
        return None
    board = going.board
    if children and all(board.done(child.status) for child in children):
        return _to(board.first("terminal_done"), card, CHILDREN)
    if any(board.failed(each.status) or each.held_from is not None for each in blockers):
        return _held(board, card)
    unmet = any(not board.done(each.status) for each in blockers)
    return _of_children(going, card, children, unmet) or _of_blockers(going, card, blockers, unmet)


def _held(board: Board, card: Card) -> Change | None:
    blocked = board.first("blocked")
    if blocked is None or board.over(card.status) or card.held_from is not None:
        return None
    if card.status in board.means.blocked:  # a person put it there; it comes back to there
        return Change(card.id, card.status, card.status, FAILED)
    return Change(card.id, blocked, card.status, FAILED)


def _of_children(going: _Pass, card: Card, children: Sequence[Card], unmet: bool) -> Change | None:
    """What a parent becomes while not all of its subtasks are done."""
    board = going.board
    if not any(child.id in going.was for child in children):
        return None
    if any(board.begun(child.status) for child in children):
        return _to(board.working, card, CHILDREN)
    if any(board.failed(child.status) for child in children):
        return _to(board.first("terminal_fail"), card, CHILDREN)
    reopened = any(board.over(going.was.get(child.id) or "") for child in children)
    if reopened and board.over(card.status):
        some = any(board.done(child.status) for child in children)
        return _to(board.working if some else _resting(board, unmet), card, CHILDREN)
    return None


def _resting(board: Board, unmet: bool) -> str | None:
    """Where a task stands on which nobody works."""
    return (board.first("initial") if unmet else None) or board.ready


def _of_blockers(going: _Pass, card: Card, blockers: Sequence[Card], unmet: bool) -> Change | None:
    """What a task becomes whose blockers all may still come to a good end, or have."""
    board = going.board
    if card.held_from is not None:
        return _released(board, card, unmet)
    stirred = card.id in going.look or any(each.id in going.was for each in blockers)
    if board.over(card.status) or board.ready is None or not stirred:
        return None
    waits = card.status in board.means.initial or card.status in board.means.blocked
    if not unmet and waits:
        return _to(board.ready, card, MET)
    if unmet and card.status == board.ready and _newly(going, card, blockers):
        return _to(board.first("initial"), card, UNMET)
    return None


def _newly(going: _Pass, card: Card, blockers: Sequence[Card]) -> bool:
    """Whether a dependency was added, or one that had been met is so no longer."""
    reopened = any(going.board.done(going.was.get(each.id) or "") for each in blockers)
    return card.id in going.look or reopened


def _released(board: Board, card: Card, unmet: bool) -> Change | None:
    """Back to where it was, or on when nothing holds it up."""
    back = card.held_from if card.held_from in board.statuses else board.first("initial")
    rests = back in board.means.initial or back in board.means.blocked
    if not unmet and rests:
        back = board.ready or back
    elif unmet and back == board.ready:
        back = board.first("initial") or back
    reason = FREED if unmet else MET
    return Change(card.id, back, None, reason) if back is not None else None


def _to(status: str | None, card: Card, reason: str) -> Change | None:
    if status is None or status == card.status:
        return None
    return Change(card.id, status, None, reason)
