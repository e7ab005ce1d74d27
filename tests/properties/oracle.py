"""A second opinion on where runs go, written another way than the engine.

`walk` follows pipelines without loops, cell by cell. `Scene` describes pipelines of nested loops
by their shape and tells from the shape alone which steps must be executed in which order.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count

from models.definitions import Action, AgentSpec, Definition, Loop, StepSpec
from models.grammar_graph import final_steps
from workers.pipelines.engine import Caps, Outcome

# What a run does next: ("step", id, visit, retry), ("finished",) or ("failed", id).
Answer = tuple


def walk(definition: Definition, outcomes: Sequence[Outcome], caps: Caps) -> Answer:
    """Where a pipeline without loops stands after outcomes that followed its dispatches."""
    visits: Counter[str] = Counter()
    todo = list(outcomes)
    here: str | None = definition.steps[0].id
    while here is not None:
        visits[here] += 1
        if visits[here] > caps.visits:
            return ("failed", here)
        step = definition.step(here)
        ended = stay(step, todo, caps)
        if isinstance(ended, int):
            if len(outcomes) >= caps.executions:
                return ("failed", here)
            return ("step", here, visits[here], ended)
        verdict, target = ended
        if verdict == "over" and here not in final_steps(definition):
            return ("failed", here)
        if verdict == "broken":
            return ("failed", here)
        here = target
    return ("finished",)


def stay(step: StepSpec, todo: list[Outcome], caps: Caps) -> int | tuple[str, str | None]:
    """One visit: the retry that is due when the outcomes run out, or how the visit ended."""
    retry = strangers = 0
    lost = ("on", step.on_failure) if step.on_failure else ("broken", None)
    while todo:
        outcome = todo.pop(0)
        kind, action = judged(step, outcome)
        if kind == "stranger":
            if strangers:
                return lost
            strangers, retry = 1, retry + 1
            continue
        if kind == "good":
            if action is None:
                return ("on", step.on_complete) if step.on_complete else ("over", None)
            return ("on", action)
        limit = step.max_retries if kind != "again" or action is None else action
        limit = 0 if kind == "hopeless" else limit
        if retry >= limit:
            return lost
        retry += 1
    return retry


def judged(step: StepSpec, outcome: Outcome) -> tuple:
    if not outcome.succeeded:
        return ("hopeless" if outcome.final else "bad"), None
    known = {value.lower(): action for value, action in step.on_result.items()}
    said = {value.strip().lower() for value in outcome.outputs.values()}
    status = outcome.outputs.get("status", "").strip().lower()
    if status in ("fail", "failed", "error") and status not in known:
        return "bad", None
    if any(key not in outcome.outputs for key in step.outputs):
        return "bad", None
    action = first_action(step, known, said, outcome)
    if action is None:
        lost = known and step.on_complete is None
        return ("stranger" if lost else "good"), None
    if action.goto:
        return "good", action.goto
    return ("again", action.max_retries) if action.retry else ("good", None)


def first_action(step, known, said, outcome) -> Action | None:
    verdict = outcome.outputs.get(step.result_key or "", "").strip().lower()
    if verdict in known:
        return known[verdict]
    return next((action for value, action in known.items() if value in said), None)


@dataclass
class Scene:
    """A step, or a loop over `items` things whose body is other scenes.

    `reworks[i]` is how often the body sends item i back to the loop's step.
    """

    items: int | None = None
    reworks: tuple[int, ...] = ()
    body: list[Scene] = field(default_factory=list)
    name: str = ""


def name_all(scenes: list[Scene], numbers: Iterator[int] | None = None) -> list[Scene]:
    numbers = numbers or count()
    for scene in scenes:
        scene.name = f"N{next(numbers)}"
        name_all(scene.body, numbers)
    return scenes


@dataclass(frozen=True)
class Due:
    """One execution that must come, what it hands over, and the loop item it belongs to."""

    step_id: str
    outputs: dict[str, str]
    item: tuple[str, int] | None  # innermost loop and index


def expected(scenes: list[Scene], around: tuple[str, int] | None = None) -> Iterator[Due]:
    """The executions in the order in which they must happen."""
    for scene in scenes:
        if scene.items is None:
            yield Due(scene.name, {}, around)
            continue
        things = json.dumps([f"thing {item}" for item in range(scene.items)])
        yield Due(f"{scene.name}_list", {f"{scene.name}_items": things}, around)
        for item in range(scene.items):
            here = (scene.name, item)
            for left in reversed(range(1 + reworks_of(scene, item))):
                yield Due(scene.name, {}, here)
                yield from expected(scene.body, here)
                verdict = "REWORK" if left else "NEXT"
                yield Due(f"{scene.name}_check", {"verdict": verdict}, here)


def reworks_of(scene: Scene, item: int) -> int:
    return scene.reworks[item] if item < len(scene.reworks) else 0


def drawn_up(scenes: list[Scene]) -> Definition:
    """The pipeline of those scenes: lists are made just before their loop, checks end bodies."""
    steps = [*chained(scenes, "END"), step("END")]
    return Definition("scenes", "Scenes", "1", "", (AgentSpec("ada", "Ada"),), tuple(steps))


def chained(scenes: list[Scene], after: str) -> Iterator[StepSpec]:
    nexts = [*(entrance(scene) for scene in scenes), after][1:]
    for scene, following in zip(scenes, nexts, strict=True):
        if scene.items is None:
            yield step(scene.name, on_complete=following)
            continue
        check = f"{scene.name}_check"
        first = entrance(scene.body[0]) if scene.body else check
        over = f"{scene.name}_items"
        yield step(f"{scene.name}_list", outputs=(over,), on_complete=scene.name)
        yield step(scene.name, loop=Loop(over, first, following))
        yield from chained(scene.body, check)
        results = {"NEXT": Action(continue_loop=True), "REWORK": Action(goto=scene.name)}
        yield step(check, outputs=("verdict",), on_result=results)


def entrance(scene: Scene) -> str:
    return scene.name if scene.items is None else f"{scene.name}_list"


def step(step_id: str, **rest) -> StepSpec:
    return StepSpec(id=step_id, agent="ada", input="work", **rest)
