"""Loops: opening them from a list, working on one item, moving to the next. All pure."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

from models.definitions import StepSpec
from workers.pipelines.state import Chart, Frame, LoopItem, LoopState, Move, State

# Models like to wrap JSON in a Markdown fence.
FENCE = re.compile(r"```[a-z]*\n(.*)\n```", re.DOTALL)


class NoList(Exception):
    """The loop's variable holds no list to work through."""


def read_items(name: str, text: str) -> list[str]:
    """The items of a JSON array, or of an object whose only array is it; objects as JSON text."""
    if not text.strip():
        raise NoList(f"Loop variable {name} not found")
    fenced = FENCE.fullmatch(text.strip())
    try:
        value = json.loads(fenced[1] if fenced else text)
    except (ValueError, RecursionError):
        raise NoList(f"Loop variable {name} is not a valid JSON array") from None
    arrays = [value]
    if isinstance(value, dict):
        arrays = [each for each in value.values() if isinstance(each, list)]
    if len(arrays) != 1 or not isinstance(arrays[0], list):
        raise NoList(f"Loop variable {name} is not a valid JSON array")
    return [item if isinstance(item, str) else as_json(item) for item in arrays[0]]


def as_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def open_loop(state: State, step: StepSpec, over: str) -> State:
    """The state inside the loop of `step`: on its current item when it goes on, else on its first.

    Coming back from within the loop is rework of the same item and leaves loops inside it behind.
    When the list itself was written anew, the loop starts over with it. An empty list opens
    nothing; a missing one breaks the run.
    """
    depths = [depth for depth, frame in enumerate(state.frames) if frame.loop == step.id]
    depth = depths[0] if depths else len(state.frames)
    if depths and not state.frames[depth].relisted:
        return state._replace(frames=state.frames[: depth + 1])
    try:
        values = read_items(over, state.outputs.get(over, ""))
    except NoList as error:
        return state.breaking(step.id, str(error))
    named = (LoopItem(f"{step.id}_item_{i}", i, value) for i, value in enumerate(values))
    loop = LoopState(step.id, tuple(named))
    opened = (Frame(step.id, state.outputs, state.arrivals),) if values else ()
    frames = (*state.frames[:depth], *opened)
    return state._replace(frames=frames, loops={**state.loops, step.id: loop})


def relist(chart: Chart, state: State, step: StepSpec) -> State:
    """Mark the loops whose list this step has just handed over as part of its declared outputs."""

    lists = {frame.loop for frame in state.frames if declares(step, chart.steps[frame.loop])}
    if not lists:
        return state
    marked = (f._replace(relisted=True) if f.loop in lists else f for f in state.frames)
    return state._replace(frames=tuple(marked))


def declares(step: StepSpec, loop_step: StepSpec) -> bool:
    """Whether `step` is one that makes the list of that loop."""
    loop = loop_step.loop
    return loop is not None and step is not loop_step and loop.over in step.outputs


def complete_item(state: State) -> State:
    """Close the innermost loop's item as done, with what the closing step handed over."""
    item = state.loops[state.frames[-1].loop].current
    closed = replace(item, status="completed", output=as_json(dict(state.handed_over)))
    return closing(state, closed).noticing(
        "loop_item_complete", state.frames[-1].loop, itemId=item.id, itemIndex=item.index
    )


def fail_item(state: State, error: str) -> State:
    """Close the innermost loop's item as failed."""
    frame = state.frames[-1]
    item = state.loops[frame.loop].current
    failed = closing(state, replace(item, status="failed", output=error))
    told = {"itemId": item.id, "itemIndex": item.index, "error": error}
    return failed.noticing("loop_item_failed", frame.loop, **told)


def closing(state: State, item: LoopItem) -> State:
    loop = state.loops[state.frames[-1].loop]
    items = (*loop.items[: item.index], item, *loop.items[item.index + 1 :])
    return state._replace(loops={**state.loops, loop.step_id: loop._replace(items=items)})


def move_on(chart: Chart, state: State) -> Move:
    """Go to the next item of the innermost loop, or on to what follows the loop.

    The next item starts from the outputs that stood before the loop, so that a verdict on one
    item cannot route another.
    """
    frame = state.frames[-1]
    loop = state.loops[frame.loop]
    loop = loop._replace(current_index=loop.current_index + 1)
    state = state._replace(loops={**state.loops, frame.loop: loop})
    if loop.current_index == len(loop.items):
        return after_loop(chart, state._replace(frames=state.frames[:-1]), frame.loop)
    fresh = frame._replace(relisted=False)
    frames = (*state.frames[:-1], fresh)
    state = state._replace(frames=frames, outputs=frame.outputs, arrivals=frame.arrivals)
    return state, frame.loop


def after_loop(chart: Chart, state: State, loop_id: str) -> Move:
    step = chart.steps[loop_id]
    follower = step.loop.on_all_complete if step.loop else None
    follower = follower or step.on_complete
    return (state, follower) if follower else end_chain(chart, state, step)


def end_chain(chart: Chart, state: State, step: StepSpec) -> Move:
    """Nothing follows `step`: the run ends, or the item does when its loop has no other way on."""
    if state.frames and state.frames[-1].loop not in chart.continued:
        return move_on(chart, complete_item(state))
    if step.loop or step.id in chart.final:
        return state._replace(place=None, finished=True), None
    message = f"Step {step.id} completed, but nothing follows it and it is not the last step"
    return state.breaking(step.id, message), None
