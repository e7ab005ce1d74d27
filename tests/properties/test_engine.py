"""What holds for every valid pipeline, whatever its agents do."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from models.definitions import Definition
from models.grammar import from_json, to_json
from tests.properties.oracle import Scene, drawn_up, expected, name_all, walk
from tests.properties.pipelines import CAPS, KEYS, definitions, play, strange_outcomes, tempers
from workers.pipelines.engine import (
    Caps,
    Dispatch,
    Failed,
    Finished,
    Outcome,
    loop_states,
    next_step,
    replay,
)


@given(definitions(), tempers)
def test_a_run_ends_within_its_caps_and_dispatches_only_steps_that_exist(definition, temper):
    played = play(definition, temper)
    assert isinstance(played.decisions[-1], Finished | Failed)
    assert len(played.outcomes) <= CAPS.executions
    assert {each.step_id for each in played.dispatches} <= {step.id for step in definition.steps}


@given(definitions(), strange_outcomes)
def test_any_history_at_all_leads_to_a_decision(definition, outcomes):
    decision = next_step(definition, outcomes, CAPS)
    if isinstance(decision, Dispatch):
        definition.step(decision.step_id)
        assert len(outcomes) < CAPS.executions


@given(definitions(), tempers)
def test_executions_visits_and_retries_are_counted_without_gaps(definition, temper):
    executions: Counter[str] = Counter()
    visits: Counter[str] = Counter()
    previous = None
    for dispatch in play(definition, temper).dispatches:
        executions[dispatch.step_id] += 1
        assert dispatch.execution == executions[dispatch.step_id]
        same_visit = previous is not None and (previous.step_id, previous.visit) == (
            dispatch.step_id,
            dispatch.visit,
        )
        if same_visit:
            assert dispatch.retry in (previous.retry, previous.retry + 1)
        else:
            visits[dispatch.step_id] += 1
            assert dispatch.retry == 0
        assert dispatch.visit == visits[dispatch.step_id]
        previous = dispatch


@given(definitions(), tempers)
def test_no_visit_takes_more_executions_than_its_retries_allow(definition, temper):
    executions = Counter((each.step_id, each.visit) for each in play(definition, temper).dispatches)
    for (step_id, _), taken in executions.items():
        step = definition.step(step_id)
        limits = [action.max_retries or 0 for action in step.on_result.values()]
        assert taken <= max(step.max_retries, *limits, 0) + 2  # one for a result nobody expected


@given(definitions(looping=False), tempers)
def test_without_loops_no_step_is_visited_more_often_than_the_cap(definition, temper):
    visits = Counter({each.step_id: each.visit for each in play(definition, temper).dispatches})
    assert max(visits.values()) <= CAPS.visits


@given(definitions(looping=False), tempers)
def test_without_loops_every_decision_is_the_one_a_second_opinion_reaches(definition, temper):
    played = play(definition, temper)
    for taken, decision in enumerate(played.decisions):
        assert answer(decision) == walk(definition, played.outcomes[:taken], CAPS)


def answer(decision):
    if isinstance(decision, Dispatch):
        return ("step", decision.step_id, decision.visit, decision.retry)
    return ("finished",) if isinstance(decision, Finished) else ("failed", decision.step_id)


leaves = st.builds(Scene)
scenes = st.recursive(
    leaves,
    lambda inner: st.builds(
        Scene,
        items=st.integers(0, 3),
        reworks=st.lists(st.integers(0, 2), max_size=3).map(tuple),
        body=st.lists(inner, max_size=2),
    ),
    max_leaves=4,
)


@given(st.lists(scenes, max_size=3).map(name_all))
def test_nested_and_sequential_loops_execute_exactly_what_their_shape_says(scenery):
    definition, caps = drawn_up(scenery), Caps(executions=10_000)
    due = [*expected(scenery)][:60]
    outcomes: list[Outcome] = []
    for execution in due:
        decision = next_step(definition, outcomes, caps)
        assert isinstance(decision, Dispatch)
        assert decision.step_id == execution.step_id
        view = decision.loop
        assert (view and (view.step_id, view.index)) == execution.item
        outcomes.append(Outcome(execution.step_id, True, execution.outputs))
    if len(due) < 60:
        assert next_step(definition, outcomes, caps).step_id == "END"
        outcomes.append(Outcome("END", True))
        assert isinstance(next_step(definition, outcomes, caps), Finished)


@given(definitions(), tempers)
def test_the_same_outcomes_always_lead_to_the_same_state(definition, temper):
    outcomes = play(definition, temper).outcomes
    revived = from_json(to_json(definition))
    assert replay(definition, outcomes, CAPS) == replay(revived, tuple(outcomes), CAPS)
    assert next_step(definition, outcomes, CAPS) == next_step(revived, tuple(outcomes), CAPS)


@given(definitions(), tempers)
def test_where_a_success_leads_is_declared_by_the_step_or_by_a_loop_around_it(definition, temper):
    played = play(definition, temper)
    pairs = zip(played.dispatches, played.outcomes, played.decisions[1:], strict=True)
    for dispatch, outcome, following in pairs:
        if isinstance(following, Dispatch) and outcome.succeeded:
            assert following.step_id in declared(definition, dispatch.step_id)


def declared(definition: Definition, step_id: str) -> set[str]:
    """The step itself, what it names, and what any loop it may be in names or is."""
    step = definition.step(step_id)
    named = {step_id, step.on_complete, step.on_failure}
    named |= {action.goto for action in step.on_result.values()}
    for each in definition.steps:
        if each.loop:
            loop = each.loop
            named |= {each.id, each.on_complete, loop.on_all_complete, loop.on_each_complete}
    return {name for name in named if name}


@given(definitions(), tempers)
def test_outputs_are_never_blank_and_come_from_a_success(definition, temper):
    played = play(definition, temper)
    said = {value for each in played.outcomes for value in each.outputs.values() if each.succeeded}
    for decision in played.decisions:
        assert set(decision.outputs) <= {*KEYS, "extra"}
        assert all(value.strip() and value in said for value in decision.outputs.values())


@given(definitions(), tempers)
def test_every_item_before_a_loops_cursor_is_closed(definition, temper):
    played = play(definition, temper)
    for loop in loop_states(definition, played.outcomes).values():
        done = loop.items[: loop.current_index]
        assert all(item.status != "pending" for item in done)
        assert [item.index for item in loop.items] == list(range(len(loop.items)))
