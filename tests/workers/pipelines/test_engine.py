"""How runs move: going back, routing by result, loops, retries, and the ways to end."""

from __future__ import annotations

import json
import time

import pytest

from models.definitions import Action, AgentSpec, Definition, Loop, Notify, StepSpec
from workers.pipelines.engine import (
    Caps,
    Dispatch,
    Failed,
    Finished,
    Outcome,
    loop_states,
    next_step,
)


def step(step_id, *outputs, **rest) -> StepSpec:
    return StepSpec(id=step_id, agent="ada", input="work", outputs=outputs, **rest)


def pipeline(*steps: StepSpec) -> Definition:
    return Definition("p", "P", "1", "", (AgentSpec("ada", "Ada"),), steps)


def done(step_id, **outputs) -> Outcome:
    return Outcome(step_id, True, outputs)


def broke(step_id, error="it broke", transient=False) -> Outcome:
    return Outcome(step_id, False, {}, error, transient)


def tell(definition, *outcomes, caps=None):
    """Feed the outcomes one by one, insisting that each answers the dispatch before it."""
    for taken, outcome in enumerate(outcomes):
        due = next_step(definition, outcomes[:taken], caps or Caps())
        assert isinstance(due, Dispatch), due
        assert due.step_id == outcome.step_id
    return next_step(definition, outcomes, caps or Caps())


def kinds(decision) -> list[str]:
    return [notice.kind for notice in decision.notices]


BUGFIX = pipeline(
    step("FIX", "fix_summary", on_complete="VALIDATE"),
    step("VALIDATE", "result", on_result={"PASS": Action(), "FAIL": Action(goto="FIX")}),
)


def test_going_back_is_a_new_visit_until_the_result_is_good_w4():
    cycle = (done("FIX", fix_summary="tried"), done("VALIDATE", result=" fail "))
    again = tell(BUGFIX, *cycle)
    assert (again.step_id, again.visit, again.execution) == ("FIX", 2, 2)
    passed = (done("FIX", fix_summary="mended"), done("VALIDATE", result="PASS"))
    finished = tell(BUGFIX, *cycle, *cycle, *passed)
    assert isinstance(finished, Finished)
    assert finished.outputs == {"fix_summary": "mended", "result": "PASS"}


def test_a_cycle_that_never_ends_fails_with_the_cap_that_stopped_it():
    cycle = (done("FIX", fix_summary="x"), done("VALIDATE", result="FAIL"))
    failed = tell(BUGFIX, *cycle * 3, caps=Caps(visits=3))
    assert failed.error == "Step FIX was visited more than 3 times"
    failed = tell(BUGFIX, *cycle * 3, caps=Caps(executions=6))
    assert failed.error == "The run has reached its limit of 6 step executions"


def test_complete_outputs_reach_later_steps_and_route_the_run_w7():
    due = tell(BUGFIX, done("FIX", fix_summary="one line", extra="kept too", empty=" "))
    assert due.outputs == {"fix_summary": "one line", "extra": "kept too"}
    assert due.step_id == "VALIDATE"


def test_the_output_meant_for_the_verdict_is_asked_before_the_others():
    chatty = pipeline(
        step(
            *("REVIEW", "notes", "review_result"),
            on_result={"PASS": Action(goto="SHIP"), "FAIL": Action(goto="REVIEW")},
        ),
        step("SHIP"),
    )
    assert tell(chatty, done("REVIEW", notes="pass", review_result="fail")).step_id == "REVIEW"
    assert tell(chatty, done("REVIEW", notes="PASS", review_result="?")).step_id == "SHIP"


def test_an_unknown_result_is_retried_once_naming_the_accepted_values_then_fails():
    strange = (done("FIX", fix_summary="x"), done("VALIDATE", result="MAYBE"))
    due = tell(BUGFIX, *strange)
    assert due.feedback == ("[RETRY 1/3] no output is one of the accepted results: PASS, FAIL",)
    assert due.outputs == {"fix_summary": "x"}
    failed = tell(BUGFIX, *strange, done("VALIDATE", result="DUNNO"))
    assert isinstance(failed, Failed)
    assert "PASS, FAIL" in failed.error


def test_notify_beside_goto_is_sent_and_notify_alone_goes_on_w11():
    told = Notify("eve", "look at this")
    deploy = pipeline(
        step("BUILD", on_complete="DEPLOY"),
        step(
            *("DEPLOY", "result"),
            on_result={"OK": Action(notify=told), "BAD": Action(goto="BUILD", notify=told)},
        ),
    )
    back = tell(deploy, done("BUILD"), done("DEPLOY", result="BAD"))
    assert back.step_id == "BUILD"
    assert back.notices[0].data == {"from": "system", "to": "eve", "message": "look at this"}
    finished = tell(deploy, done("BUILD"), done("DEPLOY", result="OK"))
    assert isinstance(finished, Finished)
    assert kinds(finished) == ["agent_message"]


def test_steps_on_demand_do_not_keep_the_run_from_ending_w11():
    run = pipeline(step("WORK"), step("DX", on_complete="WORK"))
    assert isinstance(tell(run, done("WORK")), Finished)


def test_a_step_somebody_runs_on_demand_leads_on_from_there():
    run = pipeline(step("WORK"), step("DX", on_complete="WORK"))
    due = next_step(run, [done("WORK"), done("DX")])
    assert (due.step_id, due.visit) == ("WORK", 2)


# Retries ------------------------------------------------------------------------------------


def test_a_failure_is_retried_with_its_error_as_feedback_until_the_retries_are_used():
    run = pipeline(step("A", max_retries=2))
    due = tell(run, broke("A", "first"), broke("A", "second"))
    assert due.feedback == ("[RETRY 1/2] first", "[RETRY 2/2] second")
    assert (due.visit, due.retry, due.execution, due.delay) == (1, 2, 3, 0)
    assert kinds(due) == ["step_retrying"]
    failed = tell(run, broke("A", "first"), broke("A", "second"), broke("A", "third"))
    assert (failed.error, failed.step_id) == ("third", "A")


def test_missing_outputs_are_asked_for_again():
    run = pipeline(step("A", "one", "two", "three"))
    due = tell(run, done("A", two="2"))
    assert due.feedback == ("[RETRY 1/3] missing required outputs: one, three",)
    assert due.outputs == {}


@pytest.mark.parametrize("status", ["fail", "FAILED", " error "])
def test_a_status_that_says_failure_is_one(status):
    run = pipeline(step("A", "status"))
    assert "disk full" in tell(run, done("A", status=status, error="disk full")).feedback[0]
    assert "so so" in tell(run, done("A", status=status, result="so so")).feedback[0]
    assert isinstance(tell(run, done("A", status="fine")), Finished)


def test_a_status_that_the_author_routes_is_routed():
    run = pipeline(
        step("A", "status", on_result={"FAIL": Action(goto="B")}, on_complete="C"),
        step("B", on_complete="C"),
        step("C"),
    )
    assert tell(run, done("A", status="fail")).step_id == "B"


def test_provider_trouble_waits_longer_each_time_and_costs_no_retry():
    run = pipeline(step("A", max_retries=1))
    trouble = [broke("A", "429", transient=True)] * 8
    delays = [tell(run, *trouble[:n]).delay for n in range(1, 9)]
    assert delays == [1, 2, 4, 8, 16, 32, 60, 60]
    assert tell(run, *trouble).retry == 0
    beyond = tell(run, *trouble, trouble[0])
    assert (beyond.retry, beyond.delay) == (1, 60)
    assert isinstance(tell(run, *trouble, *trouble[:2]), Failed)


def test_a_result_may_ask_for_a_retry_with_a_limit_of_its_own():
    run = pipeline(step("A", "result", on_result={"AGAIN": Action(retry=True, max_retries=1)}))
    due = tell(run, done("A", result="again"))
    assert (due.retry, due.feedback) == (1, ("[RETRY 1/1] the result was AGAIN",))
    failed = tell(run, done("A", result="again"), done("A", result="again"))
    assert failed.error == "the result was AGAIN after 1 retries"


def test_on_failure_takes_over_when_the_retries_are_used():
    run = pipeline(step("A", max_retries=0, on_complete="C", on_failure="B"), step("B"), step("C"))
    due = tell(run, broke("A", "no way"))
    assert (due.step_id, due.feedback) == ("B", ("[FAILED A] no way",))


# Loops --------------------------------------------------------------------------------------

TASKS = '{"tasks": ["one", {"title": "two"}, "three"]}'


def engineering(**loop) -> Definition:
    return pipeline(
        step("DESIGN", "tasks", on_complete="IMPLEMENT"),
        step("IMPLEMENT", "change", max_retries=0, loop=Loop("tasks", "REVIEW", "DEPLOY", **loop)),
        step(
            *("REVIEW", "review_result"),
            on_result={
                "APPROVED": Action(goto="TEST"),
                "CHANGES_REQUESTED": Action(goto="IMPLEMENT"),
                "REDESIGN": Action(goto="DESIGN"),
            },
        ),
        step(
            *("TEST", "test_result"),
            on_result={"PASS": Action(continue_loop=True), "FAIL": Action(goto="IMPLEMENT")},
        ),
        step("DEPLOY", "deploy_result", on_result={"SUCCESS": Action(), "FAIL": Action()}),
    )


DESIGNED = done("DESIGN", tasks=TASKS)
BUILT = done("IMPLEMENT", change="c")
APPROVED = done("REVIEW", review_result="APPROVED")
CHANGES = done("REVIEW", review_result="CHANGES_REQUESTED")
PASSED = done("TEST", test_result="PASS")
FAILED = done("TEST", test_result="FAIL")
GOOD = (BUILT, APPROVED, PASSED)


def test_a_loop_works_through_its_items_with_rework_and_then_goes_on_w3():
    history = (DESIGNED, *GOOD, BUILT, CHANGES, BUILT, APPROVED, FAILED, *GOOD, *GOOD)
    due = tell(engineering(), *history)
    assert due.step_id == "DEPLOY"
    assert due.loop is None
    loop = loop_states(engineering(), history)["IMPLEMENT"]
    assert [item.status for item in loop.items] == ["completed"] * 3
    assert [item.id for item in loop.items] == [f"IMPLEMENT_item_{i}" for i in range(3)]
    assert json.loads(loop.items[0].output) == {"test_result": "PASS"}
    finished = tell(engineering(), *history, done("DEPLOY", deploy_result="SUCCESS"))
    assert isinstance(finished, Finished)


def test_the_first_item_is_seen_by_the_very_first_execution_w3():
    due = tell(engineering(), DESIGNED)
    assert (due.loop.item, due.loop.index, due.loop.total) == ("one", 0, 3)
    due = tell(engineering(), DESIGNED, *GOOD)
    assert (due.loop.item, due.loop.completed) == ('{"title": "two"}', ("one",))
    assert due.notices[0].data == {"itemId": "IMPLEMENT_item_0", "itemIndex": 0}


def test_rework_keeps_the_item_and_its_outputs_but_the_next_item_starts_clean():
    rework = tell(engineering(), DESIGNED, BUILT, CHANGES)
    assert rework.loop.index == 0
    assert rework.outputs["review_result"] == "CHANGES_REQUESTED"
    fresh = tell(engineering(), DESIGNED, *GOOD)
    assert fresh.outputs == {"tasks": TASKS}


def test_a_list_made_anew_starts_the_loop_over():
    redesign = (DESIGNED, *GOOD, BUILT, done("REVIEW", review_result="REDESIGN"))
    due = tell(engineering(), *redesign, done("DESIGN", tasks='["other"]'))
    assert (due.loop.item, due.loop.total) == ("other", 1)


def test_a_loop_without_body_moves_from_item_to_item():
    run = pipeline(step("L", loop=Loop("things"), on_complete="END"), step("END"))
    run = pipeline(step("MAKE", "things", on_complete="L"), *run.steps)
    made = done("MAKE", things='["a", "b"]')
    assert tell(run, made, done("L")).loop.item == "b"
    assert tell(run, made, done("L"), done("L")).step_id == "END"


def test_an_empty_list_ends_the_loop_at_once():
    assert tell(engineering(), done("DESIGN", tasks='{"tasks": []}')).step_id == "DEPLOY"


@pytest.mark.parametrize(
    ("tasks", "error"),
    [
        (" ", "Loop variable tasks not found"),
        ("a, b", "Loop variable tasks is not a valid JSON array"),
        ('{"a": [], "b": []}', "Loop variable tasks is not a valid JSON array"),
        ("7", "Loop variable tasks is not a valid JSON array"),
    ],
)
def test_what_is_no_list_fails_the_run_by_name(tasks, error):
    failed = tell(engineering(), done("DESIGN", tasks=tasks))
    assert (failed.error, failed.step_id) == (error, "IMPLEMENT")


def test_a_list_in_a_markdown_fence_is_a_list():
    due = tell(engineering(), done("DESIGN", tasks='```json\n["a"]\n```'))
    assert due.loop.total == 1


def test_an_item_that_fails_for_good_fails_the_run_or_is_left_behind():
    failed = tell(engineering(), DESIGNED, broke("IMPLEMENT", "cannot"))
    assert isinstance(failed, Failed)
    assert kinds(failed) == ["loop_item_failed"]
    left = (DESIGNED, broke("IMPLEMENT", "cannot"))
    due = tell(engineering(on_item_fail="continue"), *left)
    assert (due.loop.index, due.loop.completed) == (1, ())
    items = loop_states(engineering(on_item_fail="continue"), left)["IMPLEMENT"].items
    assert (items[0].status, items[0].output) == ("failed", "cannot")


def test_a_loop_inside_a_loop_starts_anew_for_each_outer_item():
    run = pipeline(
        step("PLAN", "outer", on_complete="O"),
        step("O", "inner", loop=Loop("outer", "I", "END")),
        step("I", loop=Loop("inner", "CHECK", "CLOSE")),
        step("CHECK", "r", on_result={"OK": Action(continue_loop=True)}),
        step("CLOSE", "r", on_result={"OK": Action(continue_loop=True)}),
        step("END"),
    )
    history = [done("PLAN", outer='["x", "y"]')]
    for letters in ("ab", "c"):
        history.append(done("O", inner=json.dumps(list(letters))))
        history += [done("I"), done("CHECK", r="OK")] * len(letters)
        history.append(done("CLOSE", r="ok"))
    assert tell(run, *history).step_id == "END"
    inner = tell(run, *history[:2])
    assert (inner.loop.step_id, inner.loop.item) == ("I", "a")


def test_loops_follow_one_another_on_one_list():
    run = pipeline(
        step("MAKE", "things", on_complete="ONE"),
        step("ONE", loop=Loop("things"), on_complete="TWO"),
        step("TWO", loop=Loop("things")),
    )
    history = (done("MAKE", things='["a", "b"]'), *[done("ONE")] * 2, *[done("TWO")] * 2)
    assert isinstance(tell(run, *history), Finished)


def test_a_chain_without_continue_loop_ends_the_item_instead_of_the_run():
    run = pipeline(
        step("MAKE", "things", on_complete="L"),
        step("L", loop=Loop("things", "BODY")),
        step("BODY"),
    )
    made = done("MAKE", things='["a", "b"]')
    assert tell(run, made, done("L"), done("BODY")).loop.item == "b"
    assert isinstance(tell(run, made, *[done("L"), done("BODY")] * 2), Finished)


def test_a_long_list_is_work_and_not_a_cycle():
    run = pipeline(step("MAKE", "things", on_complete="L"), step("L", loop=Loop("things")))
    made = done("MAKE", things=json.dumps([str(n) for n in range(60)]))
    assert isinstance(tell(run, made, *[done("L")] * 60), Finished)


def test_empty_loops_that_lead_to_each_other_end_at_the_cap():
    run = pipeline(
        step("MAKE", "things", on_complete="A"),
        step("A", loop=Loop("things", None, "B")),
        step("B", loop=Loop("things", None, "A")),
    )
    failed = tell(run, done("MAKE", things="[]"))
    assert failed.error == "Step A was visited more than 25 times"


# Ends ---------------------------------------------------------------------------------------


def test_an_end_in_the_middle_is_a_failure_with_a_reason():
    run = pipeline(step("A", on_result={"ODD": Action(goto="B")}, on_complete="B"), step("B"))
    assert isinstance(tell(run, done("A"), done("B")), Finished)
    run = pipeline(step("A", "r", on_result={"X": Action(), "Y": Action(goto="B")}), step("B"))
    failed = tell(run, done("A", r="X"))
    assert "nothing follows it" in failed.error


def test_history_of_another_pipeline_is_refused_not_guessed_at():
    assert next_step(BUGFIX, [done("GHOST")]).error == "There is no step GHOST"


def test_two_hundred_outcomes_are_replayed_in_milliseconds():
    design = done("DESIGN", tasks=json.dumps([f"task {n}" for n in range(66)]))
    history = (design, *GOOD * 66)
    assert len(history) == 199
    taken = []
    for _ in range(20):
        started = time.perf_counter()
        assert next_step(engineering(), history).step_id == "DEPLOY"
        taken.append(time.perf_counter() - started)
    assert min(taken) < 0.01  # 2 ms on an idle machine; others are testing beside us
