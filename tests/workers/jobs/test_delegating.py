"""Planners: agents that have executors and swarms do the work, and wait without a worker."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from models import base, budgets, events, runs, swarms
from models.agents import Agent
from models.invariants import breaches
from models.outbox import Outbox
from models.pipelines import Pipeline
from models.principals import Principal
from models.runs import Run
from models.sessions import Session
from models.steps import Step
from models.swarms import Swarm, SwarmTask
from tasks import budgets as budget_commands
from tasks import pipelines as pipeline_commands
from tasks import runs as commands
from tasks import swarms as swarm_commands
from tests.beginning import keep_waiting, lose_what_was_asked
from tests.processes.product import scripted
from workers import clock
from workers.jobs import steps as jobs

ANNA = Principal("usr_anna", "user")
PLANNER = """
id: planner
name: Planner
agents: [{id: yukihiro, name: Yukihiro, tools: [read, write, bash, spawn_executor, swarm_execute]}]
steps:
  - {id: PLAN, agent: yukihiro, input: "{{task_description}}", outputs: [plan], maxRetries: 0}
"""
PROMPT = "execution_prompt"
Work = Callable[..., int]


def order(key: str, *dependencies: str, **play: Any) -> dict[str, Any]:
    write = {"name": "write", "arguments": {"path": f"{key}.txt", "content": f"by {key}\n"}}
    prompt = scripted(f"Write {key}", EXECUTE=[play or {"calls": [write]}])
    about = {"title": f"Write {key}", "project_id": "p1", "task_id": f"T-{key}"}
    return {"key": key, **about, "execution_prompt": prompt, "dependencies": list(dependencies)}


@pytest.fixture
def plan(database: str) -> Callable[..., Run]:
    """Starts a planner that calls these tools, all in one reply."""
    pipeline_commands.put("planner", PLANNER)

    def start(*calls: tuple[str, dict[str, Any]]) -> Run:
        told = [{"name": name, "arguments": arguments} for name, arguments in calls]
        form = {"task": scripted("Plan it", PLAN=[{"calls": told}])}
        return commands.start(ANNA, Pipeline.get_by_id("planner"), form)

    return start


def swarm_of(*tasks: dict[str, Any], **form: Any) -> tuple[str, dict[str, Any]]:
    return "swarm_execute", {"tasks": list(tasks), **form}


def executor_for(key: str) -> tuple[str, dict[str, Any]]:
    told = order(key)
    return "spawn_executor", {name: told[name] for name in ("project_id", "task_id", PROMPT)}


def waited_for() -> Any:
    """The swarm or executor that there is."""
    return Swarm.select().first() or Run.get(Run.kind == runs.EXECUTOR)


def perform(work: Work, until: Callable[[], bool]) -> None:
    for _ in range(50):
        if until():
            return
        work(1)
    raise AssertionError("this did not happen")


def waiting() -> Step | None:
    step: Step | None = Step.get_or_none(Step.state == "waiting")
    return step


def answers(run: Run) -> list[str]:
    """What the planner's tools answered, in order."""
    rows = base.db.execute_sql(
        "SELECT data->>'result' FROM events WHERE run_id = %s AND type = 'tool_call_end'"
        " ORDER BY seq",
        (run.id,),
    )
    return [text for (text,) in rows]


def over(run: Run) -> Run:
    return Run.get_by_id(run.id)


def test_a_planner_lets_go_of_its_worker_and_goes_on_with_what_its_swarm_did(
    plan: Callable[..., Run], work: Work
) -> None:
    look = ("bash", {"command": "cat A.txt B.txt C.txt"})
    run = plan(swarm_of(order("A"), order("B"), order("C", "A", "B")), look)
    perform(work, lambda: waiting() is not None)
    step = waiting()
    assert step is not None
    (swarm,) = Swarm.select()
    assert (step.lease_id, step.waits_for, swarm.parent_id) == (None, swarm.id, run.id)
    assert Session.get_by_id(step.session_id).state == "completed"
    assert not Session.select().where(Session.state == "running").exists()
    work()
    assert over(run).state == runs.COMPLETED
    told, seen, *_ = answers(run)
    report, _ = json.JSONDecoder().raw_decode(told)
    assert (report["status"], report["completed"], report["skipped"]) == ("completed", 3, 0)
    assert [result["status"] for result in report["taskResults"]] == ["completed"] * 3
    assert seen == "by A\nby B\nby C"
    assert Swarm.select().count() == 1
    assert Run.select().where(Run.parent_id == run.id).count() == 3


def test_a_planner_hears_of_failures_and_decides(plan: Callable[..., Run], work: Work) -> None:
    run = plan(swarm_of(order("A"), order("B", fail="no wood"), order("C", "B")))
    work()
    assert over(run).state == runs.COMPLETED
    report, _ = json.JSONDecoder().raw_decode(answers(run)[0])
    assert report["status"] == "failed"
    assert report["skippedTasks"] == ["C"]
    results = {result["key"]: result for result in report["taskResults"]}
    assert results["B"]["error"] == "no wood"
    assert results["C"]["error"] == "dependency B failed"


def test_a_planner_waits_for_one_executor_too(plan: Callable[..., Run], work: Work) -> None:
    run = plan(executor_for("A"), ("bash", {"command": "cat A.txt"}))
    perform(work, lambda: waiting() is not None)
    work()
    assert over(run).state == runs.COMPLETED
    first, second, *_ = answers(run)
    report, _ = json.JSONDecoder().raw_decode(first)
    assert (report["status"], report["outputs"]["status"]) == ("completed", "success")
    assert second == "by A"
    assert Run.select().where(Run.kind == runs.EXECUTOR).count() == 1


def test_a_planner_whose_executor_has_no_budget_left_says_so_and_goes_on_when_that_is_resumed(
    plan: Callable[..., Run], work: Work
) -> None:
    told = {key: value for key, value in order("A").items() if key.endswith(("_id", "_prompt"))}
    run = plan(("spawn_executor", told))
    perform(work, lambda: waiting() is not None)
    limited(run, 1)
    work()
    executor = Run.get(Run.kind == runs.EXECUTOR)
    assert (executor.state, executor.pause_reason) == (runs.PAUSED, budget_commands.REACHED)
    assert over(run).state == runs.RUNNING
    (heard,) = happened(run, budget_commands.REACHED)
    (seen,) = happened(executor, budget_commands.REACHED)
    assert (heard["pausedRunId"], heard["stepId"]) == (executor.id, "PLAN")
    assert heard["raise"] == seen["raise"]
    remedy = f"PUT /v1/runs/{run.id}/budget, then resume run {executor.id}."
    assert remedy in heard["raise"]
    budget_commands.tell_planner(executor.id)  # as when its answer was lost
    assert len(happened(run, budget_commands.REACHED)) == 1
    limited(run, None)
    commands.resume(executor.id)
    work()
    assert over(run).state == runs.COMPLETED
    assert breaches(0) == []


def test_a_planner_hears_of_a_paused_executor_although_redis_forgot_the_word(
    plan: Callable[..., Run], work: Work
) -> None:
    run = plan(executor_for("A"))
    perform(work, lambda: waiting() is not None)
    limited(run, 1)
    paused = Run.select().where((Run.kind == runs.EXECUTOR) & (Run.state == runs.PAUSED))
    perform(work, paused.exists)
    lose_what_was_asked()
    work()
    (heard,) = happened(run, budget_commands.REACHED)
    assert heard["pausedRunId"] == paused.get().id


def limited(run: Run, tokens: int | None) -> None:
    """The run may spend so many tokens, together with all below it."""
    with base.db.atomic():
        budgets.limit(commands.locked(run.id), {"limit_tokens": tokens})


def happened(run: Run, kind: str) -> list[dict[str, Any]]:
    return [event.data for event in events.after(run.id, 0, 1_000) if event.type == kind]


def test_tasks_begin_with_the_planners_files(plan: Callable[..., Run], work: Work) -> None:
    write = ("write", {"path": "plan.txt", "content": "the plan\n"})
    look = {"calls": [{"name": "bash", "arguments": {"command": "cat plan.txt"}}]}
    run = plan(write, swarm_of(order("A", **look)))
    work()
    assert over(run).state == runs.COMPLETED
    (task,) = SwarmTask.select()
    assert answers(Run.get_by_id(task.run_id))[0] == "the plan"


def test_orders_that_cannot_be_followed_go_back_to_the_planner(
    plan: Callable[..., Run], work: Work
) -> None:
    run = plan(swarm_of(order("A", "B"), order("B", "A")), swarm_of(order("x.lock")))
    work()
    assert over(run).state == runs.COMPLETED
    first, second, *_ = answers(run)
    assert first == "Invalid DAG: cycle A -> B -> A"
    assert second.startswith("'x.lock' cannot be a key")
    assert Swarm.select().count() == 0


def test_a_planner_orders_in_no_name_but_its_own_and_writes_no_columns(
    plan: Callable[..., Run], work: Work
) -> None:
    alone = {key: value for key, value in order("A").items() if key.endswith(("_id", "_prompt"))}
    odd = {"agent_id": "finn", "limit_usd": None, "swarm_task_key": "../x"}
    task = {**order("B"), "id": "1", "number": 7, "state": "completed"}
    run = plan(
        ("spawn_executor", {**alone, **odd}),
        swarm_of(task, agent_id="finn"),
        swarm_of(task, agent_id="finn"),
    )
    work()
    assert over(run).state == runs.COMPLETED, over(run).error
    ordered = list(Run.select().where(Run.parent_id == run.id))
    assert {each.agent_id for each in (*ordered, *Swarm.select())} == {"yukihiro"}
    assert len(ordered) == 3
    tasks = list(SwarmTask.select())
    assert [(each.number, each.state) for each in tasks] == [(0, "completed")] * 2
    assert "1" not in {each.id for each in tasks}


def test_a_planner_whose_agent_has_left_the_library_hears_so_and_goes_on(
    plan: Callable[..., Run], work: Work
) -> None:
    order_ = {"project_id": "p1", "task_id": "T1", "execution_prompt": "Do it"}
    look = ("bash", {"command": "echo still here"})
    run = plan(swarm_of(order("A")), ("spawn_executor", order_), look)
    Agent.delete().where(Agent.id == "yukihiro").execute()
    work()
    assert over(run).state == runs.COMPLETED, over(run).error
    refused = "It was not begun: Agent yukihiro not found"
    assert answers(run)[:3] == [refused, refused, "still here"]
    assert not Swarm.select().exists()
    assert not Run.select().where(Run.parent_id == run.id).exists()


def test_a_model_whose_name_no_column_holds_goes_back_to_the_planner(
    plan: Callable[..., Run], work: Work
) -> None:
    alone = {key: value for key, value in order("A").items() if key.endswith(("_id", "_prompt"))}
    run = plan(
        swarm_of({**order("A"), "model": "m" * 257}),
        ("spawn_executor", {**alone, "model_override": "m" * 257}),
    )
    work()
    assert over(run).state == runs.COMPLETED, over(run).error
    swarm, executor, *_ = answers(run)
    assert "do not fit (tasks.0.model)" in swarm
    assert "do not fit (model_override)" in executor


def test_cancelling_the_planner_cancels_its_swarm_and_executors(
    plan: Callable[..., Run], work: Work
) -> None:
    run = plan(swarm_of(order("A"), order("B", "A")))
    perform(work, lambda: Run.select().where(Run.kind == runs.EXECUTOR).exists())
    commands.cancel(run.id)
    keep_waiting()
    work()
    assert {each.state for each in Run.select()} == {"cancelled"}
    assert Swarm.get().state == swarms.CANCELLED
    assert Step.select().where(Step.state.in_(["queued", "running", "waiting"])).count() == 0


def test_cancelling_the_swarm_lets_the_planner_go_on(plan: Callable[..., Run], work: Work) -> None:
    run = plan(swarm_of(order("A")))
    perform(work, lambda: waiting() is not None)
    swarm_commands.cancel(Swarm.get().id)
    work()
    assert over(run).state == runs.COMPLETED
    report, _ = json.JSONDecoder().raw_decode(answers(run)[0])
    assert report["status"] == "cancelled"


def test_a_planner_that_nobody_woke_is_woken_by_the_sweep(
    plan: Callable[..., Run], work: Work
) -> None:
    run = plan(swarm_of(order("A")))
    perform(work, lambda: waiting() is not None)
    swarm_commands.cancel(Swarm.get().id)
    base.db.execute_sql("DELETE FROM outbox")
    clock.sweep_requests()
    assert [row.body["task"] for row in Outbox.select()] == ["steps.awaken"]
    work()
    assert over(run).state == runs.COMPLETED


@pytest.mark.parametrize("end", [commands.cancel, partial(commands.delete, force=True)])
@pytest.mark.parametrize("kind", ["swarm", "executor"])
def test_what_a_planner_waited_for_ends_with_it_though_redis_forgot_to_say_so(
    plan: Callable[..., Run], work: Work, kind: str, end: Callable[[str], object]
) -> None:
    run = plan(swarm_of(order("A")) if kind == "swarm" else executor_for("A"))
    perform(work, lambda: waiting() is not None)
    end(run.id)
    base.db.execute_sql("DELETE FROM outbox")
    assert waited_for().state != "cancelled"
    clock.sweep_requests()
    work()
    assert waited_for().state == "cancelled"
    assert breaches(0) == []


def test_an_executor_that_a_person_has_begun_anew_is_called_off_by_no_old_request(
    plan: Callable[..., Run], work: Work
) -> None:
    run = plan(executor_for("A"))
    perform(work, lambda: waiting() is not None)
    commands.cancel(run.id)
    executor = waited_for()
    jobs.abandon(executor.id)
    assert waited_for().state == runs.CANCELLED
    commands.restart(executor.id)
    jobs.abandon(executor.id)  # once more, as its worker was lost before it could say so
    assert waited_for().state == runs.PENDING


def test_an_executor_that_a_person_begins_anew_works_on_though_its_planner_is_over(
    plan: Callable[..., Run], work: Work
) -> None:
    plan(executor_for("A"))
    work()
    commands.restart(waited_for().id)
    clock.sweep_requests()
    work()
    assert (waited_for().state, waited_for().attempt) == (runs.COMPLETED, 2)
    assert breaches(0) == []


def test_delegation_is_offered_only_where_a_step_names_it(work: Work) -> None:
    form = {"task": "Mend it", "model_override": "scripted/demo"}
    run = commands.start(ANNA, Pipeline.get_by_id("bugfix"), form)
    work()
    used = base.db.execute_sql(
        "SELECT DISTINCT data->>'toolName' FROM events WHERE run_id = %s", (run.id,)
    )
    assert not {"spawn_executor", "swarm_execute", "executor_complete"} & {n for (n,) in used}


def test_a_planner_that_is_begun_anew_leaves_no_swarm_at_work(
    plan: Callable[..., Run], work: Work
) -> None:
    run = plan(swarm_of(order("A"), order("B", "A")))
    perform(work, lambda: waiting() is not None)
    (first,) = Swarm.select()
    commands.restart_step(run.id, "PLAN")
    work()
    assert Swarm.get_by_id(first.id).state == swarms.CANCELLED
    assert Swarm.select().where(Swarm.id != first.id).get().state == swarms.COMPLETED
    assert over(run).state == runs.COMPLETED


def test_a_planner_is_told_when_its_executor_was_deleted_and_asks_for_no_other(
    plan: Callable[..., Run], work: Work
) -> None:
    order_ = {"project_id": "p1", "task_id": "T1", "execution_prompt": scripted("Do it")}
    run = plan(("spawn_executor", order_))
    perform(work, lambda: waiting() is not None)
    executor = Run.get(Run.parent_id == run.id)
    commands.delete(executor.id, force=True)
    work()
    assert "It was deleted" in answers(run)[0]
    assert not Run.select().where(Run.parent_id == run.id).exists()
    assert over(run).state == runs.COMPLETED
