"""Deciding what a run does next, from its definition and what happened so far. Pure.

The outcomes are folded into a `State`, one by one, and the decision is read off the last state;
nothing is remembered between calls, so the same outcomes always lead to the same decision.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from models.definitions import Action, Definition, StepSpec
from workers.pipelines.decisions import (
    Caps,
    Decision,
    Dispatch,
    Failed,
    Finished,
    LoopView,
    Notice,
    Outcome,
)
from workers.pipelines.loops import (
    after_loop,
    complete_item,
    end_chain,
    fail_item,
    move_on,
    open_loop,
    relist,
)
from workers.pipelines.state import Chart, LoopItem, LoopState, Move, Place, State, increased

__all__ = [
    "CAPS",
    "Caps",
    "Decision",
    "Dispatch",
    "Failed",
    "Finished",
    "LoopItem",
    "LoopState",
    "LoopView",
    "Notice",
    "Outcome",
    "State",
    "loop_states",
    "next_step",
    "replay",
]

CAPS = Caps()
FAILING = ("fail", "failed", "error")


def next_step(definition: Definition, outcomes: Sequence[Outcome], caps: Caps = CAPS) -> Decision:
    """The step to execute next, or that the run is over.

    Its notices tell what the last outcome (or, without outcomes, the start) brought about.
    """
    return decide(replay(definition, outcomes, caps), len(outcomes), caps)


def loop_states(definition: Definition, outcomes: Sequence[Outcome]) -> Mapping[str, LoopState]:
    """Every loop the run has come to, by step id, as it stands or as it ended last."""
    return replay(definition, outcomes, CAPS).loops


def replay(definition: Definition, outcomes: Sequence[Outcome], caps: Caps = CAPS) -> State:
    """The state the outcomes lead to."""
    chart = Chart(definition, caps)
    if not definition.steps:
        return State().breaking("", "The pipeline has no steps")
    state = travel(chart, (State(), definition.steps[0].id))
    for outcome in outcomes:
        state = absorb(chart, state._replace(notices=()) if state.notices else state, outcome)
    return state


def decide(state: State, executions: int, caps: Caps) -> Decision:
    if state.broken:
        step_id, error = state.broken
        return Failed(error, step_id, state.notices, state.outputs)
    place = state.place
    if state.finished or place is None:
        return Finished(state.outputs, state.notices)
    if executions >= caps.executions:
        error = f"The run has reached its limit of {caps.executions} step executions"
        return Failed(error, place.step_id, state.notices, state.outputs)
    return Dispatch(
        step_id=place.step_id,
        visit=state.visits[place.step_id],
        retry=place.retry,
        execution=state.executions.get(place.step_id, 0) + 1,
        feedback=place.feedback,
        outputs=state.outputs,
        loop=state.loop,
        notices=state.notices,
    )


def travel(chart: Chart, move: Move, feedback: tuple[str, ...] = ()) -> State:
    """Enter step after step until one is to be executed or the run is over."""
    state, target = move
    while target is not None:
        state, target = enter(chart, state, target, feedback)
    return state


def enter(chart: Chart, state: State, step_id: str, feedback: tuple[str, ...]) -> Move:
    arrivals = increased(state.arrivals, step_id)
    if arrivals[step_id] > chart.caps.visits:
        error = f"Step {step_id} was visited more than {chart.caps.visits} times"
        return state.breaking(step_id, error), None
    step = chart.steps[step_id]
    if step.loop:
        state = open_loop(state._replace(arrivals=arrivals), step, step.loop.over)
        if state.broken:
            return state, None
        if not state.frames or state.frames[-1].loop != step_id:
            return after_loop(chart, state, step_id)
    place, visits = Place(step_id, feedback=feedback), increased(state.visits, step_id)
    return state._replace(place=place, arrivals=arrivals, visits=visits), None


def absorb(chart: Chart, state: State, outcome: Outcome) -> State:
    """The state after one more outcome.

    An outcome of a step that was not due is one that somebody ran on demand: the run goes there,
    and on from there.
    """
    if outcome.step_id not in chart.steps:
        return state.breaking(outcome.step_id, f"There is no step {outcome.step_id}")
    if state.place is None or state.place.step_id != outcome.step_id:
        idle = state._replace(place=None, finished=False, broken=None)
        state = travel(chart, (idle, outcome.step_id))
    place = state.place
    if place is None or place.step_id != outcome.step_id:
        return state
    step = chart.steps[outcome.step_id]
    state = state._replace(executions=increased(state.executions, step.id))
    error = fault(step, outcome)
    if error is not None:
        return after_fault(chart, state, place, outcome, error)
    return after_success(chart, state, place, outcome)


def fault(step: StepSpec, outcome: Outcome) -> str | None:
    """Why the execution does not count as a success; None when it does."""
    if not outcome.succeeded:
        return outcome.error or f"Step {step.id} failed"
    status = outcome.outputs.get("status", "").strip()
    if status.casefold() in FAILING and accepted(step, status) is None:
        told = outcome.outputs.get("error") or outcome.outputs.get("result")
        return told or f"Step {step.id} reported status {status}"
    missing = [key for key in step.outputs if key not in outcome.outputs]
    return f"missing required outputs: {', '.join(missing)}" if missing else None


def after_fault(chart: Chart, state: State, place: Place, outcome: Outcome, error: str) -> State:
    """Retry with feedback, or give up."""
    step = chart.steps[place.step_id]
    if place.retry < step.max_retries and not outcome.final:
        return again(state, place, error, step.max_retries)
    return give_up(chart, state, step, error)


def again(state: State, place: Place, error: str, limit: int) -> State:
    """The same visit once more, with what went wrong as feedback."""
    retry = place.retry + 1
    line = f"[RETRY {retry}/{max(limit, retry)}] {error}"
    due = place._replace(retry=retry, feedback=(*place.feedback, line))
    told = {"feedback": line, "retry": retry}
    return state._replace(place=due).noticing("step_retrying", place.step_id, **told)


def give_up(chart: Chart, state: State, step: StepSpec, error: str) -> State:
    """The step has failed for good: its onFailure, else the loops around it, else the run's end."""
    if step.on_failure:
        return travel(chart, (state, step.on_failure), (f"[FAILED {step.id}] {error}",))
    while state.frames:
        state = fail_item(state, error)
        loop = chart.steps[state.frames[-1].loop].loop
        if loop and loop.on_item_fail == "continue":
            unspoilt = state._replace(outputs=state.frames[-1].outputs)
            return travel(chart, move_on(chart, unspoilt))
        state = state._replace(frames=state.frames[:-1])
    return state.breaking(step.id, error)


def after_success(chart: Chart, state: State, place: Place, outcome: Outcome) -> State:
    """Keep what the step handed over and go where its result leads."""
    step = chart.steps[outcome.step_id]
    value = None if step.loop else matched(step, outcome.outputs)
    if value is None and step.on_result and not step.loop and step.on_complete is None:
        return after_no_match(chart, state, place, step)
    outputs = merged(state.outputs, outcome.outputs)
    state = state._replace(outputs=outputs, handed_over=outcome.outputs)
    if state.frames and step.outputs:
        state = relist(chart, state, step)
    if value is None:
        return travel(chart, onward(chart, state, step))
    return act(chart, state, place, value)


def merged(outputs: Mapping[str, str], latest: Mapping[str, str]) -> dict[str, str]:
    """The latest value of each key; handing over a blank value takes the key back."""
    both = {**outputs, **latest}
    for key, value in latest.items():
        if not value.strip():
            del both[key]
    return both


def matched(step: StepSpec, outputs: Mapping[str, str]) -> str | None:
    """The value of onResult that an output equals; the output meant to carry it is asked first."""
    if not step.on_result:
        return None
    verdict = accepted(step, outputs.get(step.result_key or "", ""))
    if verdict is not None:
        return verdict
    given = {value.strip().casefold() for value in outputs.values()}
    return next((value for value in step.on_result if value.strip().casefold() in given), None)


def accepted(step: StepSpec, output: str) -> str | None:
    folded = output.strip().casefold()
    return next((value for value in step.on_result if value.strip().casefold() == folded), None)


def after_no_match(chart: Chart, state: State, place: Place, step: StepSpec) -> State:
    """Say once which values are accepted; a second unknown result fails the step."""
    error = f"no output is one of the accepted results: {', '.join(step.on_result)}"
    if place.unmatched:
        return give_up(chart, state, step, error)
    return again(state, place._replace(unmatched=1), error, step.max_retries)


def act(chart: Chart, state: State, place: Place, value: str) -> State:
    """Do what onResult says for `value`; an action that moves nowhere falls through."""
    step = chart.steps[place.step_id]
    action = step.on_result[value]
    state = notified(state, step, action)
    if action.goto is not None:
        return travel(chart, (state, action.goto))
    if action.retry:
        limit = step.max_retries if action.max_retries is None else action.max_retries
        if place.retry < limit:
            return again(state, place, f"the result was {value}", limit)
        return give_up(chart, state, step, f"the result was {value} after {limit} retries")
    if action.continue_loop and state.frames:
        return travel(chart, move_on(chart, complete_item(state)))
    if action.continue_loop:
        message = f"{value} continues a loop, but none is going on"
        state = state.noticing("warning", step.id, message=message)
    return travel(chart, onward(chart, state, step))


def notified(state: State, step: StepSpec, action: Action) -> State:
    if action.notify is None:
        return state
    told = {"from": "system", "to": action.notify.agent, "message": action.notify.message}
    return state.noticing("agent_message", step.id, **told)


def onward(chart: Chart, state: State, step: StepSpec) -> Move:
    """Where a success leads that no result has routed."""
    if step.loop and step.loop.on_each_complete:
        return state, step.loop.on_each_complete
    if step.loop:
        return move_on(chart, complete_item(state))
    if step.on_complete is not None:
        return state, step.on_complete
    return end_chain(chart, state, step)
