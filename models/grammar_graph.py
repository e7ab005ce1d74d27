"""Where a run can go from a step: plain questions about a pipeline's graph."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from models.definitions import Definition, StepSpec

Steps = Mapping[str, StepSpec]


def targets(step: StepSpec) -> Iterator[tuple[str, str]]:
    """Every step this one names, as (key of the YAML below the step, step id)."""
    if step.on_complete is not None:
        yield "onComplete", step.on_complete
    for value, action in step.on_result.items():
        if action.goto is not None:
            yield f"onResult.{value}.goto", action.goto
    if step.on_failure is not None:
        yield "onFailure.goto", step.on_failure
    if step.loop and step.loop.on_each_complete is not None:
        yield "loop.onEachComplete", step.loop.on_each_complete
    if step.loop and step.loop.on_all_complete is not None:
        yield "loop.onAllComplete", step.loop.on_all_complete


def reachable(steps: Steps, starts: Iterable[str]) -> set[str]:
    """The steps a run can come to from `starts`, these included; unknown ids are left out."""
    seen: set[str] = set()
    waiting = [start for start in starts if start in steps]
    while waiting:
        step_id = waiting.pop()
        if step_id not in seen:
            seen.add(step_id)
            waiting += [target for _, target in targets(steps[step_id]) if target in steps]
    return seen


def leading_to(steps: Steps, step_id: str) -> set[str]:
    """The steps from which a run can come to this one."""
    sources: dict[str, list[str]] = {}
    for step in steps.values():
        for _, target in targets(step):
            sources.setdefault(target, []).append(step.id)
    seen: set[str] = set()
    waiting = list(sources.get(step_id, ()))
    while waiting:
        source = waiting.pop()
        if source not in seen:
            seen.add(source)
            waiting += sources.get(source, ())
    return seen


def final_steps(definition: Definition) -> set[str]:
    """The steps after which a run may simply end.

    The last step of the file is one. Steps no path leads to only run on demand, so they do not
    keep the last step before them from being the end, and each may end the run itself.
    """
    ordered = [step.id for step in definition.steps]
    if not ordered:
        return set()
    on_path = reachable({step.id: step for step in definition.steps}, ordered[:1])
    last = next(step_id for step_id in reversed(ordered) if step_id in on_path)
    return {last, ordered[-1]} | (set(ordered) - on_path)


def loop_bodies(steps: Steps) -> dict[str, set[str]]:
    """For each loop step, the steps that work on one of its items.

    A loop inside the body counts with what follows it, not with its own items' steps.
    """
    return {
        step.id: body(steps, step.id, step.loop.on_each_complete)
        for step in steps.values()
        if step.loop
    }


def body(steps: Steps, loop_id: str, first: str | None) -> set[str]:
    seen: set[str] = set()
    waiting = [first] if first in steps else []
    while waiting:
        step_id = waiting.pop()
        if step_id is None or step_id in seen or step_id == loop_id:
            continue
        seen.add(step_id)
        onward = targets(steps[step_id])
        waiting += [to for key, to in onward if key != "loop.onEachComplete" and to in steps]
    return seen


def continued(steps: Steps) -> set[str]:
    """The loops whose body says `continueLoop` somewhere; the others go on when a chain ends."""
    return {
        loop_id
        for loop_id, members in loop_bodies(steps).items()
        if any(continues(steps[member]) for member in members)
    }


def continues(step: StepSpec) -> bool:
    """Whether a result of this step can move the loop around it to its next item."""
    return step.loop is None and any(action.continue_loop for action in step.on_result.values())
