"""How runs move: going back, routing by result, retries, and the ways to end."""

from __future__ import annotations

import pytest

from models.definitions import Action, Notify
from tests.workers.pipelines.telling import broke, done, kinds, pipeline, step, tell
from workers.pipelines.engine import Caps, Failed, Finished, next_step

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
    assert (due.visit, due.retry, due.execution) == (1, 2, 3)
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


def test_what_no_repeating_would_change_is_not_repeated():
    run = pipeline(step("A", max_retries=3, on_failure="B"), step("B", max_retries=3))
    due = tell(run, broke("A", "no such model", final=True))
    assert (due.step_id, due.feedback) == ("B", ("[FAILED A] no such model",))
    failed = tell(run, broke("A", final=True), broke("B", "no credit", final=True))
    assert (failed.error, failed.step_id) == ("no credit", "B")


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


# Ends ---------------------------------------------------------------------------------------


def test_an_end_in_the_middle_is_a_failure_with_a_reason():
    run = pipeline(step("A", on_result={"ODD": Action(goto="B")}, on_complete="B"), step("B"))
    assert isinstance(tell(run, done("A"), done("B")), Finished)
    run = pipeline(step("A", "r", on_result={"X": Action(), "Y": Action(goto="B")}), step("B"))
    failed = tell(run, done("A", r="X"))
    assert "nothing follows it" in failed.error


def test_history_of_another_pipeline_is_refused_not_guessed_at():
    assert next_step(BUGFIX, [done("GHOST")]).error == "There is no step GHOST"
