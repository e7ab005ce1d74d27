"""What no single key can tell: references, dead ends, loops that stall, unreachable steps."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from models.definitions import StepSpec
from models.grammar_fields import Notes
from models.grammar_graph import continued, continues, leading_to, reachable, targets
from models.grammar_yaml import Node

Placed = Sequence[tuple[Node, StepSpec]]


def check_steps(placed: Placed, agents: Collection[str], notes: Notes) -> None:
    """Note every error and warning that needs the whole list of steps."""
    steps = {step.id: step for _, step in placed}
    for node, step in placed:
        check_references(node, step, steps, notes)
        check_agents(node, step, agents, notes)
    check_ends(placed, notes)
    check_loops(placed, steps, notes)
    on_path = reachable(steps, [step.id for _, step in placed[:1]])
    for node, step in placed:
        if step.id and step.id not in on_path:
            message = f"nothing leads to step `{step.id}`: it only runs on demand"
            notes.warn(node.fields.get("id", node), message)


def place(node: Node, path: str) -> Node:
    """The node at a dotted path below `node`, or the deepest one there is on the way.

    Result values may hold dots themselves, so the longest key that fits is taken first.
    """
    rest = path
    while rest:
        fits = [key for key in node.fields if rest == key or rest.startswith(f"{key}.")]
        if not fits:
            return node
        key = max(fits, key=len)
        node, rest = node.fields[key], rest[len(key) + 1 :]
    return node


def check_references(node: Node, step: StepSpec, steps: Collection[str], notes: Notes) -> None:
    for path, target in targets(step):
        if target not in steps:
            notes.error(place(node, path), f"there is no step `{target}`")


def check_agents(node: Node, step: StepSpec, agents: Collection[str], notes: Notes) -> None:
    if step.agent and step.agent not in agents:
        notes.error(place(node, "agent"), f"there is no agent `{step.agent}` under `agents`")
    for value, action in step.on_result.items():
        if action.notify and action.notify.agent and action.notify.agent not in agents:
            message = f"there is no agent `{action.notify.agent}` under `agents`"
            notes.error(place(node, f"onResult.{value}.notify.agent"), message)


def check_ends(placed: Placed, notes: Notes) -> None:
    """A step that is not the last must lead somewhere: a forgotten `onComplete` is no end."""
    for node, step in placed[:-1]:
        if not leads_on(step):
            notes.error(node, f"step `{step.id}` has no successor and is not the last step")


def leads_on(step: StepSpec) -> bool:
    if step.on_complete is not None:
        return True
    if step.loop:
        return bool(step.loop.on_each_complete or step.loop.on_all_complete)
    return any(action.goto or action.continue_loop for action in step.on_result.values())


def check_loops(placed: Placed, steps: Mapping[str, StepSpec], notes: Notes) -> None:
    starts = [step.loop.on_each_complete or "" for step in steps.values() if step.loop]
    inside = reachable(steps, starts)
    going = continued(steps)
    for node, step in placed:
        if continues(step) and step.id not in inside:
            check_continue(node, step, notes)
        if step.loop:
            check_loop(node, step, steps, notes)
        if step.loop and step.loop.on_each_complete and step.id not in going:
            message = "no step after it says `continueLoop`: an item ends where its chain ends"
            notes.warn(place(node, "loop.onEachComplete"), message)


def check_continue(node: Node, step: StepSpec, notes: Notes) -> None:
    for value, action in step.on_result.items():
        if action.continue_loop:
            message = f"no loop's onEachComplete leads to step `{step.id}`"
            notes.error(place(node, f"onResult.{value}.continueLoop"), message)


def check_loop(node: Node, step: StepSpec, steps: Mapping[str, StepSpec], notes: Notes) -> None:
    if step.on_result:
        message = "is never consulted on a loop step; put it on the step after onEachComplete"
        notes.warn(place(node, "onResult"), message)
    over = step.loop.over if step.loop else ""
    before = leading_to(steps, step.id)
    if over and not any(over in steps[other].outputs for other in before):
        notes.warn(place(node, "loop.over"), f"no earlier step declares the output `{over}`")
