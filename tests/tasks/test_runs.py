"""Asking for runs: what each command leaves behind, and what it refuses."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from models import base, events, runs, tallies
from models.agents import Agent
from models.errors import Conflict, Invalid, Malformed, NotFound
from models.idempotency import KEPT_MS, IdempotencyKey
from models.outbox import Outbox
from models.pipelines import Pipeline
from models.principals import Principal
from models.runs import Run
from models.sessions import Session
from models.steps import Step
from tasks import pipelines as pipeline_commands
from tasks import runs as commands
from tests.beginning import begun
from tests.models.callers import call
from workers.jobs import steps as jobs

ANNA = Principal("usr_anna", "user")
BEN = Principal("usr_ben", "user")


@pytest.fixture
def start(database: str) -> Callable[..., Run]:
    def begin(pipeline: str = "planning", key: str | None = None, **form: Any) -> Run:
        form = {"task": "Build a todo app", "model_override": "scripted/demo", **form}
        return commands.start(ANNA, Pipeline.get_by_id(pipeline), form, key)

    return begin


def kinds(run: Run) -> list[str]:
    return [event.type for event in events.after(run.id, 0, 1000)]


def test_a_run_and_its_request_are_committed_together(start: Callable[..., Run]) -> None:
    run = start()
    assert run.state == runs.PENDING
    assert [row.queue for row in Outbox.select().order_by(Outbox.id)] == ["events", "agents"]
    assert kinds(run) == ["run_created"]


def test_a_run_that_could_not_be_asked_for_does_not_exist(start: Callable[..., Run]) -> None:
    with pytest.raises(RuntimeError), base.db.atomic():
        start()
        raise RuntimeError("the process dies here")
    assert Run.select().count() == 0
    assert Outbox.select().count() == 0


def test_the_same_idempotency_key_gives_the_same_run(start: Callable[..., Run]) -> None:
    first, second = start(key="k"), start(key="k")
    assert first.id == second.id
    assert Run.select().count() == 1
    assert Outbox.select().where(Outbox.queue == "agents").count() == 1


def test_an_idempotency_key_with_another_body_is_a_conflict(start: Callable[..., Run]) -> None:
    start(key="k")
    with pytest.raises(Conflict):
        start(key="k", task="Something else")
    assert Run.select().count() == 1


def test_an_idempotency_key_is_forgotten_after_a_day(start: Callable[..., Run]) -> None:
    first = start(key="k")
    IdempotencyKey.update(created_at=base.now_ms() - KEPT_MS - 1).execute()
    assert start(key="k", task="Something else").id != first.id


def test_a_key_whose_run_was_deleted_makes_no_second_run(start: Callable[..., Run]) -> None:
    first = start(key="k")
    commands.delete(first.id, force=True)
    with pytest.raises(Conflict):
        start(key="k")
    assert Run.select().count() == 0


def test_ten_equal_requests_at_once_make_one_run(start: Callable[..., Run]) -> None:
    found: list[str] = []

    def ask() -> None:
        with base.db.connection_context():
            found.append(start(key="at once").id)

    threads = [threading.Thread(target=ask) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 10
    assert len(set(found)) == 1


def test_cancelling_twice_changes_nothing_the_second_time(start: Callable[..., Run]) -> None:
    run = start()
    assert commands.cancel(run.id).state == runs.CANCELLED
    told = kinds(run)
    assert told[-1] == "run_failed"
    commands.cancel(run.id)
    assert kinds(run) == told


def test_a_finished_run_cannot_be_cancelled_or_paused(
    start: Callable[..., Run], work: Callable[[], int]
) -> None:
    run = start()
    work()
    assert Run.get_by_id(run.id).state == runs.COMPLETED
    for command in (commands.cancel, commands.pause, commands.resume):
        with pytest.raises(Conflict):
            command(run.id)


def test_a_late_job_of_a_former_attempt_does_nothing(
    start: Callable[..., Run], work: Callable[[int], int]
) -> None:
    run = start()
    work(1)  # the first step
    commands.cancel(run.id)
    commands.restart(run.id)
    with base.db.atomic():
        assert Run.locked(run.id, attempt=1) is None
    work()
    done = Run.get_by_id(run.id)
    assert (done.state, done.attempt) == (runs.COMPLETED, 2)


def test_a_restart_forgets_outputs_and_executions(
    start: Callable[..., Run], work: Callable[[], int]
) -> None:
    run = start()
    work()
    again = commands.restart(run.id, "Think of mobile users")
    assert (again.state, again.outputs, again.attempt) == (runs.PENDING, {}, 2)
    assert again.human_context == "Think of mobile users"
    assert Step.of(again) == []


def test_a_restarted_step_and_what_followed_are_done_again(
    start: Callable[..., Run], work: Callable[[], int]
) -> None:
    run = start()
    work()
    first, second, *rest = [step.step_id for step in Step.of(Run.get_by_id(run.id))]
    commands.restart_step(run.id, second, "Once more")
    left = Step.of(Run.get_by_id(run.id))
    assert [step.step_id for step in left] == [first]
    work()
    done = Step.of(Run.get_by_id(run.id))
    assert [step.step_id for step in done] == [first, second, *rest]
    assert done[1].human_context == "Once more"
    assert done[2].human_context is None


def test_pausing_at_once_puts_the_step_under_way_back(
    start: Callable[..., Run], work: Callable[[int], int]
) -> None:
    run = start()
    step = begun(run.id)
    with base.db.atomic():
        assert step.claim(hands=2)
    commands.pause(run.id, now=True)
    (again,) = Step.of(Run.get_by_id(run.id))
    assert (again.state, again.tries, step.held_run()) == ("queued", 0, None)
    commands.resume(run.id)
    work()
    assert Run.get_by_id(run.id).state == runs.COMPLETED


def test_pausing_at_once_ends_the_agents_session_and_frees_its_hand(
    start: Callable[..., Run], work: Callable[[int], int]
) -> None:
    paused, other = start(), start()
    step, waiting = begun(paused.id), begun(other.id)
    Agent.update(concurrent_steps=1).where(Agent.id == step.agent_id).execute()
    base.db.execute_sql("DELETE FROM outbox")
    claimed = jobs.claim(step.id)
    assert claimed is not None
    assert jobs.claim(waiting.id) is None
    commands.pause(paused.id, now=True)
    assert Session.get_by_id(claimed[1].session_id).state == "cancelled"
    asked = base.db.execute_sql("SELECT body->'args'->>0 FROM outbox WHERE queue = 'agents'")
    assert asked.fetchall() == [(waiting.id,)]
    Agent.update(concurrent_steps=2).where(Agent.id == step.agent_id).execute()


def test_an_active_run_is_only_deleted_by_force(start: Callable[..., Run]) -> None:
    run = start()
    with pytest.raises(Conflict):
        commands.delete(run.id)
    commands.delete(run.id, force=True)
    assert Run.get_or_none(Run.id == run.id) is None
    assert events.after(run.id, 0, 10) == []
    with pytest.raises(NotFound):
        commands.delete(run.id)


def test_a_caller_deletes_only_ended_runs_of_his_own(start: Callable[..., Run]) -> None:
    active, ended = start(), start()
    commands.cancel(ended.id)
    assert commands.delete_ended(BEN, None, base.now_ms() + 1) == 0
    assert commands.delete_ended(ANNA, "cancelled", None) == 1
    assert [run.id for run in Run.select()] == [active.id]


def test_what_others_did_in_a_shared_project_is_not_the_callers_to_delete(
    start: Callable[..., Run],
) -> None:
    """They see it, and may delete it run by run; all at once only its owner and admins do."""
    run = start(project_id="proj_shared")
    commands.cancel(run.id)
    teammate = Principal("usr_teammate", "user")
    assert Run.visible_to(teammate).count() == 1
    assert commands.delete_ended(teammate, None, base.now_ms() + 1) == 0
    admin = Principal("usr_admin", "user", is_admin=True)
    assert commands.delete_ended(admin, None, base.now_ms() + 1) == 1


def test_a_run_that_is_restarted_while_all_are_deleted_stays(start: Callable[..., Run]) -> None:
    kept, gone = start(), start()
    for run in (kept, gone):
        commands.cancel(run.id)
    begun, deleted = threading.Event(), threading.Event()

    def restart() -> None:
        with base.db.connection_context(), base.db.atomic():
            commands.restart(kept.id)
            base.db.now("SELECT 1")  # so that all of it has been sent
            begun.set()
            assert deleted.wait(10)

    restarting = threading.Thread(target=restart)
    restarting.start()
    assert begun.wait(10)
    counts: list[int] = []

    def delete() -> None:
        with base.db.connection_context():
            counts.append(commands.delete_ended(ANNA, None, base.now_ms() + 1))

    deleting = threading.Thread(target=delete)
    deleting.start()
    deleting.join(1)  # it may wait for whoever restarts
    deleted.set()
    restarting.join(10)
    deleting.join(10)
    assert counts == [1]
    assert [(run.id, run.state) for run in Run.select()] == [(kept.id, runs.PENDING)]


def test_usage_of_runs_that_are_deleted_twice_at_once_is_taken_away_once(
    start: Callable[..., Run],
) -> None:
    run = start()
    commands.cancel(run.id)
    call("0.5", 0, run_id=run.id)
    call("0.25", 0)
    tallies.fold()
    held, free = threading.Event(), threading.Event()

    def hold() -> None:
        with base.db.connection_context(), base.db.atomic():
            base.db.execute_sql("SELECT 1 FROM tallies FOR UPDATE")
            held.set()
            assert free.wait(10)

    def delete() -> None:
        with base.db.connection_context():
            commands.delete_ended(ANNA, None, base.now_ms() + 1)

    threads = [threading.Thread(target=act) for act in (hold, delete, delete)]
    threads[0].start()
    assert held.wait(10)
    for deleting in threads[1:]:
        deleting.start()
    threads[1].join(0.5)  # both have come to where they wait, or know that there is nothing
    free.set()
    for thread in threads:
        thread.join(10)
    assert Run.select().count() == 0
    assert base.db.execute_sql(tallies.WRONG).fetchall() == []


def test_a_run_keeps_the_version_it_began_with(
    start: Callable[..., Run], work: Callable[[], int]
) -> None:
    run = start("planning")
    text = Pipeline.get_by_id("planning").yaml.replace("VALIDATE_SUBTASKS", "CHECK_SUBTASKS")
    pipeline_commands.put("planning", text)
    work()
    assert "VALIDATE_SUBTASKS" in [step.step_id for step in Step.of(Run.get_by_id(run.id))]
    later = start("planning")
    work()
    assert "CHECK_SUBTASKS" in [step.step_id for step in Step.of(Run.get_by_id(later.id))]


def test_a_pipeline_is_only_stored_under_its_own_id_and_when_valid(database: str) -> None:
    text = Pipeline.get_by_id("bugfix").yaml
    with pytest.raises(Malformed, match="id bugfix"):
        pipeline_commands.put("other", text)
    with pytest.raises(Invalid) as refused:
        pipeline_commands.put("bugfix", text.replace("onComplete: VALIDATE", "onComplete: NOWHERE"))
    assert any("NOWHERE" in error["msg"] for error in refused.value.errors)
    assert Pipeline.get_by_id("bugfix").yaml == text
