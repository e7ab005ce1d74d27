"""Plans: the tasks that a person sends or agents answer, made into what a board can take.

Agents are forgiven what can be mended: an unknown priority, a dependency by nearly the right title.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from graphlib import CycleError, TopologicalSorter
from typing import Any

from models.base import clean
from models.board import PRIORITIES, TITLE
from models.stages import WORK_TYPES

ALIKE = 0.6  # how much of a title must fit (difflib's ratio)
MOST = 500  # tasks of one plan
MOST_HOURS = 10_000.0
LISTS = (
    ("validated_tasks_json", "task_breakdown_json"),
    ("final_subtasks_json", "subtask_breakdown_json"),
)


@dataclass(frozen=True)
class Planned:
    """A task that is to be; `needs` and `parent` name others of the plan by their keys."""

    key: str
    title: str
    description: str = ""
    priority: str = "P2"
    tags: tuple[str, ...] = ()
    hours: float | None = None
    work_type: str | None = None
    needs: tuple[str, ...] = ()
    parent: str | None = None


@dataclass(frozen=True)
class Plan:
    """Tasks in an order in which they could be done, and the dependencies nobody could follow."""

    tasks: tuple[Planned, ...]
    skipped: tuple[str, ...] = ()


def answered(outputs: Mapping[str, str]) -> Plan:
    """The plan that the outputs of a planning run hold; an empty one where they hold none."""
    found: list[Planned] = []
    for names in LISTS:
        texts = [outputs[name] for name in names if outputs.get(name)]
        rows = _rows(texts[0]) if texts else []
        for row in rows:
            planned = _read(row, len(found))
            if planned is not None:
                found.append(planned)
    return without_circles(linked(_distinct(found[:MOST])))


def linked(tasks: Sequence[Planned]) -> Plan:
    """The same with `needs` and `parent` led to keys of the plan, by key, title or likeness."""
    keys = {task.key for task in tasks}
    titles = {task.title.casefold(): task.key for task in reversed(tasks)}
    skipped: list[str] = []

    def key_of(name: str, asker: Planned) -> str | None:
        if name in keys:
            return name if name != asker.key else None
        near = difflib.get_close_matches(name.casefold(), titles, 1, ALIKE)
        return titles[near[0]] if near and titles[near[0]] != asker.key else None

    led = []
    for task in tasks:
        needs = {name: key_of(name, task) for name in task.needs}
        skipped += [f"{task.title}: {name}" for name, key in needs.items() if key is None]
        known = tuple(dict.fromkeys(key for key in needs.values() if key is not None))
        parent = key_of(task.parent, task) if task.parent else None
        led.append(replace(task, needs=known, parent=parent))
    return Plan(tuple(led), tuple(skipped))


def circle(plan: Plan) -> list[str]:
    """The titles of tasks that wait for each other in a circle; [] when none do."""
    titles = {task.key: task.title for task in plan.tasks}
    try:
        TopologicalSorter(_graph(plan.tasks)).prepare()
    except CycleError as error:
        return [titles[key] for key in error.args[1][::-1]]
    return []


def without_circles(plan: Plan) -> Plan:
    """The same without the dependencies that would close a circle, nor parents that would."""
    skipped = list(plan.skipped)
    tasks = {task.key: task for task in plan.tasks}
    while (around := _around(tuple(tasks.values()))) is not None:
        first, then = around
        task = tasks[then]
        skipped.append(f"{task.title}: {tasks[first].title}")
        if first in task.needs:
            needs = tuple(key for key in task.needs if key != first)
            tasks[then] = replace(task, needs=needs)
        else:  # the parent waits for this one
            tasks[first] = replace(tasks[first], parent=None)
    return Plan(tuple(tasks.values()), tuple(skipped))


def _around(tasks: Sequence[Planned]) -> tuple[str, str] | None:
    """A task and one that waits for it, both part of a circle."""
    try:
        TopologicalSorter(_graph(tasks)).prepare()
    except CycleError as error:
        first, then = error.args[1][:2]  # each comes before the next one
        return first, then
    return None


def _graph(tasks: Sequence[Planned]) -> dict[str, list[str]]:
    graph: dict[str, list[str]] = {task.key: list(task.needs) for task in tasks}
    for task in tasks:
        if task.parent is not None:
            graph[task.parent].append(task.key)
    return graph


def _distinct(tasks: Sequence[Planned]) -> list[Planned]:
    """The same with a key of its own for whoever has one that was taken."""
    taken: set[str] = set()
    named = []
    for place, task in enumerate(tasks):
        key = f"{task.key}#{place}" if task.key in taken else task.key
        taken.add(key)
        named.append(replace(task, key=key))
    return named


def _rows(text: str) -> list[Mapping[str, Any]]:
    """The objects of a JSON list, or of the list in an object."""
    try:
        read = clean(json.loads(text))  # which may spell what cannot be stored
    except (ValueError, RecursionError):
        return []
    if isinstance(read, dict):
        read = next((each for each in read.values() if isinstance(each, list)), [])
    return [row for row in read if isinstance(row, dict)] if isinstance(read, list) else []


def _read(row: Mapping[str, Any], place: int) -> Planned | None:
    """One task as an agent wrote it; None when it has no title."""
    title = str(row.get("title") or "").strip()[:TITLE]
    if not title:
        return None
    priority, kind = row.get("priority"), row.get("work_type")
    return Planned(
        key=str(row.get("key") or row.get("id") or f"#{place}"),
        title=title,
        description=_described(row),
        priority=priority if priority in PRIORITIES else "P2",
        tags=tuple(str(tag)[:64] for tag in _listed(row, "tags")[:50]),
        hours=_hours(row.get("estimated_hours", row.get("estimatedHours"))),
        work_type=kind if kind in WORK_TYPES else None,
        needs=tuple(str(name) for name in _listed(row, "dependencies")[:100]),
        parent=str(row["parent_key"]) if row.get("parent_key") else None,
    )


def _described(row: Mapping[str, Any]) -> str:
    criteria = [f"- {each}" for each in _listed(row, "acceptance_criteria")]
    parts = [str(row.get("description") or ""), "\n".join(["Done when:", *criteria])]
    return "\n\n".join(part for part in (parts if criteria else parts[:1]) if part)


def _listed(row: Mapping[str, Any], name: str) -> list[Any]:
    value = row.get(name)
    return value if isinstance(value, list) else []


def _hours(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if 0 < value <= MOST_HOURS else None
