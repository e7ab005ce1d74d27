"""How loops work through their lists: items, rework, nesting, failing items, odd lists."""

from __future__ import annotations

import json
import time

import pytest

from models.definitions import Action, Definition, Loop
from tests.workers.pipelines.telling import broke, done, kinds, pipeline, step, tell
from workers.pipelines.engine import Failed, Finished, loop_states, next_step

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
