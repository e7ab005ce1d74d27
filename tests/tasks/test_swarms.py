"""Swarms: what launching, working, failing, cancelling and time leave behind."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from models import base, invariants, runs, swarms
from models.activities import Activity
from models.errors import Conflict, Invalid, NotFound
from models.outbox import Outbox
from models.runs import Run
from models.swarms import Swarm, SwarmTask
from tasks import runs as run_commands
from tasks import swarms as commands
from tests.beginning import keep_waiting
from tests.tasks.ordering import DIAMOND, launched, states, task
from workers.jobs import swarms as jobs
from workers.swarms import conduct

Work = Callable[..., int]


@pytest.fixture
def launch(database: str) -> Callable[..., Swarm]:
    return launched


def again(swarm: Swarm) -> Swarm:
    return Swarm.get_by_id(swarm.id)


def told(swarm: Swarm) -> list[tuple[str, str]]:
    """What waits to be told of the swarm: (type, task)."""
    rows = Outbox.select().where(Outbox.queue == "events").order_by(Outbox.id)
    bodies = [row.body for row in rows if row.body["data"].get("swarmId") == swarm.id]
    return [(body["type"], body["data"].get("taskKey", "")) for body in bodies]


def test_a_swarm_and_its_request_are_committed_together(launch: Callable[..., Swarm]) -> None:
    swarm = launch(*DIAMOND)
    assert swarm.state == swarms.PENDING
    assert states(swarm) == {"A": "ready", "B": "ready", "C": "pending", "D": "pending"}
    asked = Outbox.select().where(Outbox.queue == "short").order_by(Outbox.id)
    assert [row.body["task"] for row in asked] == ["swarms.advance"] * 2
    assert asked[1].due_at == swarm.deadline


def test_a_diamond_is_worked_from_its_roots_to_its_end(
    launch: Callable[..., Swarm], work: Work
) -> None:
    swarm = launch(*DIAMOND, max_concurrent=2)
    jobs.advance(swarm.id)
    assert states(swarm) == {"A": "running", "B": "running", "C": "pending", "D": "pending"}
    work()
    done = again(swarm)
    assert (done.state, done.error, set(states(swarm).values())) == (
        "completed",
        None,
        {"completed"},
    )
    tasks = {each.key: each for each in SwarmTask.of(swarm)}
    assert tasks["C"].started_at >= max(tasks["A"].completed_at, tasks["B"].completed_at)
    assert tasks["D"].started_at >= tasks["C"].completed_at
    assert [tasks[key].branch for key in "AC"] == ["feat/T-A-make-a-A", "feat/T-C-make-c-C"]
    summary = swarms.summary(done, list(tasks.values()))
    assert (summary["totalTasks"], summary["completed"], summary["failed"]) == (4, 4, 0)


def test_an_executor_begins_with_the_files_of_what_it_depends_on(
    launch: Callable[..., Swarm], work: Work
) -> None:
    look = {"calls": [{"name": "bash", "arguments": {"command": "cat A.txt B.txt C.txt"}}]}
    swarm = launch(*DIAMOND[:3], task("D", "C", does=look))
    work()
    assert again(swarm).state == "completed"
    last = SwarmTask.of(swarm)[-1]
    (answer,) = base.db.execute_sql(
        "SELECT data->>'result' FROM events WHERE run_id = %s AND type = 'tool_call_end'"
        " ORDER BY seq LIMIT 1",
        (last.run_id,),
    ).fetchone()
    assert answer == "by A\nby B\nby C"


def test_what_an_executor_did_is_reported_from_git(
    launch: Callable[..., Swarm], work: Work
) -> None:
    swarm = launch(task("A"))
    work()
    (only,) = SwarmTask.of(swarm)
    run = Run.get_by_id(only.run_id)
    assert run.kind == runs.EXECUTOR
    assert only.outputs["status"] == "success"
    assert only.outputs["files_changed"] == "A.txt"
    assert only.outputs["commit_hashes"] == only.commit == run.workspace_commit


def test_a_failed_task_skips_what_depends_on_it_and_keeps_the_rest(
    launch: Callable[..., Swarm], work: Work
) -> None:
    failing = task("B", does={"fail": "no such thing"})
    swarm = launch(task("A"), failing, *DIAMOND[2:])
    work()
    done = again(swarm)
    assert done.state == "failed"
    assert done.error == "Not every task was completed: B failed, C skipped, D skipped"
    assert states(swarm) == {"A": "completed", "B": "failed", "C": "skipped", "D": "skipped"}
    tasks = {each.key: each for each in SwarmTask.of(swarm)}
    assert tasks["B"].error == "no such thing"
    assert tasks["B"].outputs["error"] == "no such thing"
    assert tasks["D"].error == "dependency C was skipped"
    assert Run.get_by_id(tasks["B"].run_id).outputs["error"] == "no such thing"


def test_branches_of_one_task_are_merged_and_conflicts_told_for_each(
    launch: Callable[..., Swarm], work: Work
) -> None:
    clash = {"calls": [{"name": "write", "arguments": {"path": "A.txt", "content": "else\n"}}]}
    mine = [task("A", task_id="T"), task("B", task_id="T"), task("C", does=clash, task_id="T")]
    swarm = launch(*mine, task("D", task_id="U"))
    work()
    done = again(swarm)
    assert done.state == "completed"
    (report,) = done.merges
    assert (report["task_id"], report["branch"]) == ("T", "feat/T-make-a")
    assert report["merged"] == ["feat/T-make-a-A", "feat/T-make-a-B"]
    assert report["conflicts"] == [{"branch": "feat/T-make-a-C", "files": ["A.txt"]}]
    assert report["commit"]
    assert report["snapshot"]


def test_cancelling_ends_the_tasks_and_their_runs(launch: Callable[..., Swarm], work: Work) -> None:
    swarm = launch(*DIAMOND, max_concurrent=1)
    jobs.advance(swarm.id)
    commands.cancel(swarm.id)
    assert states(swarm) == dict.fromkeys("ABCD", "cancelled")
    keep_waiting()
    work()
    assert [run.state for run in Run.select()] == ["cancelled"]
    assert again(swarm).state == "cancelled"
    with pytest.raises(Conflict):
        commands.cancel(swarm.id)
    with pytest.raises(NotFound):
        commands.cancel("swarm_none")


def test_the_global_time_out_cancels_what_runs_and_fails_the_swarm(
    launch: Callable[..., Swarm], work: Work
) -> None:
    swarm = launch(*DIAMOND)
    jobs.advance(swarm.id)
    Swarm.update(deadline=1).where(Swarm.id == swarm.id).execute()
    jobs.advance(swarm.id)
    done = again(swarm)
    assert (done.state, done.error) == ("failed", "global timeout")
    assert {(each.state, each.error) for each in SwarmTask.of(swarm)} == {
        ("cancelled", "global timeout")
    }
    keep_waiting()
    work()
    assert {run.state for run in Run.select()} == {"cancelled"}


def test_a_cancelled_or_deleted_run_takes_its_task_along(
    launch: Callable[..., Swarm], work: Work
) -> None:
    swarm = launch(task("A"), task("B"), task("C", "A"))
    jobs.advance(swarm.id)
    first, second = (each.run_id for each in SwarmTask.of(swarm)[:2])
    run_commands.cancel(first)
    run_commands.delete(second, force=True)
    work()
    assert states(swarm) == {"A": "cancelled", "B": "cancelled", "C": "skipped"}
    assert again(swarm).state == "failed"


def test_tasks_that_cannot_be_done_are_refused_with_every_reason(
    launch: Callable[..., Swarm],
) -> None:
    with pytest.raises(Invalid) as refused:
        launch(task("A", "A"), task("B", "X"), task("B"))
    assert str(refused.value).startswith('Invalid DAG: task "A" depends on itself; task "B" dep')
    assert refused.value.errors[1]["loc"] == ["body", "tasks", 1, "dependencies"]
    with pytest.raises(NotFound, match="Agent nobody not found"):
        launch(task("A"), agent_id="nobody")
    assert Swarm.select().count() == 0


def test_a_dependency_that_is_named_twice_is_one(launch: Callable[..., Swarm], work: Work) -> None:
    swarm = launch(task("A"), task("B", "A", "A"))
    assert SwarmTask.of(swarm)[1].dependencies == ["A"]
    work()
    assert again(swarm).state == "completed", SwarmTask.of(swarm)[1].error


def test_asking_again_gives_the_same_swarm(launch: Callable[..., Swarm]) -> None:
    one = launch(task("A"), asked_by="exec_1:4")
    assert launch(task("A"), asked_by="exec_1:4").id == one.id
    first = launch(task("A"), idempotent="k")
    assert launch(task("A"), idempotent="k").id == first.id
    with pytest.raises(Conflict):
        launch(task("B"), idempotent="k")
    assert Swarm.select().count() == 2
    assert Outbox.select().where(Outbox.queue == "short").count() == 4


def test_a_swarm_tells_the_streams_and_the_timeline(
    launch: Callable[..., Swarm],
) -> None:
    swarm = launch(task("A"), task("B", "A"))
    jobs.advance(swarm.id)
    run_commands.cancel(SwarmTask.of(swarm)[0].run_id)
    jobs.advance(swarm.id)
    assert told(swarm) == [
        ("swarm_launched", ""),
        ("swarm_task_started", "A"),
        ("swarm_task_failed", "A"),
        ("swarm_task_skipped", "B"),
        ("swarm_failed", ""),
    ]
    kinds = [entry.type for entry in Activity.select().order_by(Activity.id)]
    assert kinds == ["swarm_started", "executor_spawned", "swarm_completed"]


def test_an_agent_that_left_the_library_fails_the_task_that_needs_it(
    launch: Callable[..., Swarm],
) -> None:
    swarm = launch(task("A"), task("B", "A"))
    Swarm.update(agent_id="gone").where(Swarm.id == swarm.id).execute()
    jobs.advance(swarm.id)
    assert states(swarm) == {"A": "failed", "B": "skipped"}
    assert SwarmTask.of(swarm)[0].error == "Spawn failed: Agent gone not found"
    assert again(swarm).state == "failed"


def test_the_longest_way_goes_first(launch: Callable[..., Swarm]) -> None:
    chain = [task("end"), task("a"), task("b", "a"), task("c", "b")]
    swarm = launch(*chain, max_concurrent=1)
    jobs.advance(swarm.id)
    assert states(swarm) == {"end": "ready", "a": "running", "b": "pending", "c": "pending"}


def test_orders_whose_branches_would_have_one_name_get_two(
    launch: Callable[..., Swarm], work: Work
) -> None:
    first = task("y-K", task_id="T", title="x")
    second = task("K", task_id="T-x", title="y")
    swarm = launch(first, second, task("Z", "y-K", "K"))
    assert [task.branch for task in SwarmTask.of(swarm)][:2] == ["feat/T-x-y-K", "feat/T-x-y-K-2"]
    work()
    assert again(swarm).state == swarms.COMPLETED


def test_a_swarm_that_cannot_be_merged_fails_some_time_after_its_deadline(
    launch: Callable[..., Swarm], work: Work
) -> None:
    swarm = launch(task("A"))
    Swarm.update(state=swarms.MERGING).where(Swarm.id == swarm.id).execute()
    past = base.database_ms() - swarms.MERGING_MS
    Swarm.update(deadline=past + 60_000).where(Swarm.id == swarm.id).execute()
    commands.advance.enqueue(swarm.id)
    work()
    assert again(swarm).state == swarms.MERGING
    Swarm.update(deadline=past).where(Swarm.id == swarm.id).execute()
    assert swarms.stalled(0) == [swarm.id]
    commands.advance.enqueue(swarm.id)
    work()
    assert (again(swarm).state, again(swarm).error) == (swarms.FAILED, conduct.UNMERGED)


def test_so_does_one_that_is_done_again_while_its_swarm_decides_what_its_end_means(
    launch: Callable[..., Swarm],
) -> None:
    swarm = launch(task("A"), task("B"))
    jobs.advance(swarm.id)
    run_id = SwarmTask.of(swarm)[0].run_id
    run_commands.cancel(run_id)
    restarting = threading.Thread(target=restart, args=(run_id,))
    with base.db.atomic():
        Swarm.locked(swarm.id)
        restarting.start()
        restarting.join(0.5)
        jobs.advance(swarm.id)
    restarting.join()
    assert states(swarm)["A"] == swarms.CANCELLED
    run = Run.get_by_id(run_id)
    assert (run.state, run.meta.get("apart")) == (runs.PENDING, True)


def restart(run_id: str) -> None:
    with base.db.connection_context():
        run_commands.restart(run_id)


def test_an_executor_that_is_done_again_stands_apart_from_its_swarm(
    launch: Callable[..., Swarm], work: Work
) -> None:
    swarm = launch(task("A"))
    work()
    (done,) = SwarmTask.of(swarm)
    run_commands.restart(done.run_id)
    assert swarms.leftovers(swarm.id) == []
    work()
    assert invariants.breaches() == []
    assert Run.get_by_id(done.run_id).state == "completed"
