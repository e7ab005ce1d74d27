"""Routines: who may have which, and that each of their slots comes to exactly one thing."""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest

from models import budgets, config, invariants, processes, routines, runs
from models.activities import Activity
from models.agents import Agent
from models.base import database_ms, db
from models.errors import Conflict, Unavailable
from models.outbox import Outbox
from models.pipelines import definition_of
from models.principals import Principal
from models.routines import Firing, Routine
from models.runs import Run
from models.sessions import Session
from models.settings import GlobalSetting
from models.steps import Step
from models.swarms import Swarm
from models.timetable import DAY_MS, MINUTE_MS, written
from tasks import pulses, settings
from tasks import routines as commands
from tests.processes.product import scripted
from workers import broker, clock
from workers.jobs import runs as run_jobs

OWNER = Principal("usr_owner", "user")
ADMIN = Principal("usr_admin", "user", is_admin=True)
Work = Callable[..., int]
# Whoever is told so does nothing, for tests that only ask whether somebody was.
BRIEFLY = 'Look around.\n```scripted\n{"default": {"tools": false}}\n```\n'


def routine(name: str = "Morning round", **form: Any) -> Routine:
    """A routine of the owner's whose last slot was a minute ago, which the clock has not seen."""
    form = {"interval_minutes": 30, "instructions": BRIEFLY, **form}
    later = database_ms() // MINUTE_MS + form["interval_minutes"] // 2  # nothing recurs just now
    form["offset_minutes"] = later % (24 * 60) % form["interval_minutes"]
    return overslept(commands.create(OWNER, "eric", {"name": name, **form}))


def overslept(made: Routine, minutes: int = 1) -> Routine:
    """As it is when the clock last looked so long ago; a slot came just after that."""
    began = database_ms() - minutes * MINUTE_MS
    due = {"one_offs": [*made.one_offs, written(began + 1_000 * (1 + len(made.one_offs)))]}
    made.put(seen_until=began - 1_000, look_at=began, **due)
    return Routine.get_by_id(made.id)


def together(most: int) -> None:
    """Eric may be at work on so many pulses."""
    config = {"coordination": {"max_concurrent_pulse_sessions": most}}
    Agent.update(config=config).where(Agent.id == "eric").execute()


def pulses_begun() -> list[Run]:
    return list(Run.select().where(Run.kind == runs.PULSE))


def told(kind: str) -> list[dict[str, Any]]:
    rows = Activity.select().where(Activity.type == kind).order_by(Activity.id)
    return [row.data for row in rows]


def come_up() -> list[Run]:
    """Have all that is due become runs whose steps wait for a worker."""
    pulses.fire_due()
    waiting = Firing.select().where(Firing.state == routines.PENDING)
    begun = [run for firing in list(waiting) if (run := pulses.start(firing.id))]
    for run in begun:
        run_jobs.advance(run.id, run.attempt)
    return [Run.get_by_id(run.id) for run in begun]


def at_once(number: int, act: Callable[[], Any]) -> list[Any]:
    """What these threads came to that all began at the same time."""
    gate = Barrier(number)

    def one(_: int) -> Any:
        with db.connection_context():
            gate.wait()
            try:
                return act()
            except Conflict as error:
                return error

    with ThreadPoolExecutor(number) as pool:
        return list(pool.map(one, range(number)))


@pytest.fixture
def frugal(
    settings: config.Settings, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[str], None]]:
    """Sets a limit of a hundred tokens, in which no call has room."""

    def limit(name: str) -> None:
        monkeypatch.setenv(name, "100")
        config.settings.cache_clear()

    yield limit
    monkeypatch.undo()
    config.settings.cache_clear()


@pytest.fixture
def here(database: str) -> None:
    """A worker is alive."""
    processes.register("worker", ["short", "agents"])


def test_what_is_due_becomes_one_session_in_the_name_of_whoever_made_the_routine(
    work: Work,
) -> None:
    Agent.update(emoji="🦊").where(Agent.id == "eric").execute()
    made = routine(
        instructions="You are {{AGENT_NAME}} {{AGENT_EMOJI}}: look around.",
        executor_model="scripted/demo",
    )
    assert pulses.fire_due() == 1
    assert pulses.fire_due() == 0
    work()
    (run,) = pulses_begun()
    assert (run.kind, run.owner_id, run.agent_id) == (runs.PULSE, "usr_owner", "eric")
    assert "look around." in run.task
    assert "{{" not in run.task
    executors = list(Run.select().where(Run.kind == runs.EXECUTOR))
    assert {each.model_override for each in executors} == {"scripted/demo"}
    session = Session.get(Session.run_id == run.id)
    assert (session.source, session.owner_id) == ("pulse", "usr_owner")
    (firing,) = Firing.select()
    assert (firing.run_id, firing.source) == (run.id, "one-off")
    assert firing.state == run.state
    after = Routine.get_by_id(made.id)
    assert after.total_runs == 1
    assert after.last_run_at is not None
    assert [each["routineId"] for each in told("pulse_started")] == [made.id]
    assert [each["routineId"] for each in told("pulse_complete")] == [made.id]
    assert invariants.breaches(0) == []


def test_executors_that_a_pulse_asks_for_have_the_time_that_its_routine_says(work: Work) -> None:
    about = {"project_id": "p1", "task_id": "T1", "execution_prompt": "Look around"}
    one = {"name": "spawn_executor", "arguments": {**about, "timeout_seconds": 600}}
    tasks = [{**about, "key": key, "title": "Look"} for key in ("A", "B")]
    several = {"name": "swarm_execute", "arguments": {"tasks": tasks}}
    play = scripted("Have others look.", PULSE=[{"calls": [one, several]}])
    routine(instructions=play, executor_timeout_sec=2_000)
    pulses.fire_due()
    work()
    executors = list(Run.select().where(Run.kind == runs.EXECUTOR))
    assert len(executors) == 3
    steps = [definition_of(each.version_id).step("EXECUTE") for each in executors]
    assert {step.timeout for step in steps} == {2_000}
    assert {each.meta["timeout_seconds"] for each in executors} == {2_000}
    assert Swarm.get().global_timeout_seconds == 2_000  # its usual 1,800 would end them sooner
    assert {run.state for run in [*executors, *pulses_begun()]} == {runs.COMPLETED}


def test_two_clocks_never_have_a_slot_come_up_twice(database: str) -> None:
    for number in range(40):
        routine(f"Round {number}")
    asked = at_once(4, pulses.fire_due)
    assert sum(asked) == Firing.select().count() == 40
    assert Outbox.select().where(Outbox.queue == "short").count() == 40


def test_a_clock_that_dies_amid_a_look_has_done_nothing(database: str) -> None:
    routine()
    with pytest.raises(RuntimeError), db.atomic():
        pulses.fire_due()
        raise RuntimeError("the power is gone")
    assert Firing.select().count() == 0
    assert pulses.fire_due() == 1


def test_a_request_that_redis_forgot_is_asked_for_again_and_done_once(work: Work) -> None:
    routine()
    pulses.fire_due()
    Outbox.delete().execute()
    Firing.update(updated_at=Firing.updated_at - clock.UNASKED_MS - 1).execute()
    clock.sweep_pulses()
    clock.sweep_pulses()
    work()
    assert len(pulses_begun()) == 1


def test_slots_that_nobody_looked_at_for_more_than_an_interval_are_dropped_and_told(
    database: str,
) -> None:
    made = commands.create(OWNER, "eric", {"name": "Often", "interval_minutes": 10})
    began = database_ms() - 60 * MINUTE_MS
    made.put(seen_until=began, look_at=began)
    assert pulses.fire_due() == 1
    (missed,) = told("pulse_skipped")
    assert missed["missed"] == 5
    assert Routine.get_by_id(made.id).skipped == 1


def test_what_no_worker_took_before_the_next_was_due_is_dropped(work: Work) -> None:
    made = routine(interval_minutes=5)
    pulses.fire_due()
    Firing.update(scheduled_at=Firing.scheduled_at - 10 * MINUTE_MS).execute()
    work()
    assert Run.select().count() == 0
    assert Firing.get().state == routines.SKIPPED
    assert Routine.get_by_id(made.id).skipped == 1


def test_deleting_stops_what_is_queued_and_what_is_at_work(work: Work) -> None:
    made = routine()
    pulses.fire_due()
    commands.delete(made)
    work()
    assert Run.select().count() == 0
    assert Firing.get().state == routines.CANCELLED

    again = routine()
    (run,) = come_up()
    Step.update(started_at=1).where(Step.run == run.id).execute()
    commands.delete(again)
    assert Run.get_by_id(run.id).state == runs.CANCELLED
    work()
    assert invariants.breaches(0) == []


def test_switching_off_stops_what_has_not_begun_and_nothing_else(work: Work) -> None:
    made = routine()
    (run,) = come_up()
    commands.toggle(made)
    assert Run.get_by_id(run.id).state == runs.CANCELLED
    assert not Routine.get_by_id(made.id).enabled
    work()
    assert Run.select().count() == 1

    overslept(commands.toggle(made))
    (begun,) = come_up()
    Step.update(started_at=1).where(Step.run == begun.id).execute()
    commands.toggle(made)
    assert Run.get_by_id(begun.id).state == runs.RUNNING


def test_who_dies_after_switching_off_leaves_it_to_a_worker(database: str) -> None:
    made = routine()
    (run,) = come_up()
    with db.atomic():
        made.put(enabled=False)
        pulses.withdraw.enqueue(made.id, database_ms())
    for asked in Outbox.select().where(Outbox.queue == "short"):
        broker.perform(asked.queue, asked.body["task"], *asked.body["args"])
    assert Run.get_by_id(run.id).state == runs.CANCELLED


def test_nothing_comes_up_while_pulses_are_off_nor_is_it_made_up_for(work: Work, here: None):
    made = routine()
    settings.change(ADMIN, {"pulseEnabled": False})
    assert pulses.fire_due() == 0
    with pytest.raises(Conflict):
        pulses.trigger(made)
    GlobalSetting.delete().execute()
    assert pulses.fire_due() == 0


def test_of_ten_that_trigger_at_once_as_many_begin_as_may(work: Work, here: None) -> None:
    made = routine(max_concurrent=2)
    together(5)
    at_once(10, lambda: pulses.trigger(made))
    firings = [firing.id for firing in Firing.select()]
    assert len(firings) == 10
    at_once(10, lambda: [pulses.start(each) for each in firings])
    assert Run.select().count() == 2
    assert Firing.select().where(Firing.state == routines.SKIPPED).count() == 8
    assert Routine.get_by_id(made.id).skipped >= 5
    assert [each for each in told("pulse_skipped") if "warning" in each]


def test_an_agent_is_at_work_on_as_many_pulses_as_its_config_says(work: Work, here: None) -> None:
    together(2)
    made = [routine(f"Round {number}") for number in range(4)]
    for each in made:
        pulses.trigger(each)
    for firing in list(Firing.select()):
        pulses.start(firing.id)
    assert Run.select().count() == 2


def midnight() -> int:
    """When the UTC day began; it does not end within the next minute."""
    into = database_ms() % DAY_MS
    if into > DAY_MS - MINUTE_MS:
        time.sleep((DAY_MS - into) / 1000)
    return database_ms() // DAY_MS * DAY_MS


def worked(start: int, minutes: int, source: str = "pulse", owner: str = "usr_owner") -> None:
    """A session of Eric's began so many minutes after midnight and was that long."""
    began = midnight() + start * MINUTE_MS
    about = {"agent_id": "eric", "source": source, "owner_id": owner, "created_at": began}
    spent = {"started_at": began, "completed_at": began + minutes * MINUTE_MS}
    Session(state="completed", **about, **spent).add()


def test_a_pulse_whose_budget_is_reached_fails_and_its_routine_comes_up_again(
    work: Work, frugal: Callable[[str], None]
) -> None:
    frugal("USER_DAILY_BUDGET_TOKENS")
    made = routine()
    pulses.fire_due()
    work()
    (run,) = pulses_begun()
    assert run.state == runs.FAILED
    assert "The budget is reached. Try again on the next day (UTC)" in run.error
    assert [each["status"] for each in told("pulse_complete")] == [runs.FAILED]
    assert invariants.breaches(0) == []
    overslept(Routine.get_by_id(made.id))
    assert len(come_up()) == 1


def test_a_migration_has_pulses_go_on_that_a_budget_had_paused_for_ever(work: Work) -> None:
    routine()
    (run,) = come_up()
    run.move(runs.PAUSED, pause_reason="budget_reached")
    work()
    assert Run.get_by_id(run.id).state == runs.PAUSED
    assert "a session that nobody could resume is not paused" in [
        breach.invariant for breach in invariants.breaches(0)
    ]

    db.execute_sql(importlib.import_module("models.migrations.0029_payers").RESUMED)
    Step.update(updated_at=1).execute()
    clock.sweep_requests()
    work()

    assert Run.get_by_id(run.id).state == runs.COMPLETED
    assert [each["status"] for each in told("pulse_complete")] == [runs.COMPLETED]


def test_what_nobody_watches_may_spend_no_more_than_any_run(
    work: Work, frugal: Callable[[str], None]
) -> None:
    frugal("RUN_BUDGET_TOKENS")
    routine()
    pulses.fire_due()
    work()
    (run,) = pulses_begun()
    budget = budgets.of_run(run)
    assert budget is not None
    assert (budget.limit_tokens, budget.spent_tokens) == (100, 0)
    assert run.state == runs.FAILED
    assert "RUN_BUDGET_TOKENS in the server's settings" in run.error


def test_an_agent_works_unasked_so_many_minutes_a_day_and_then_its_routines_say_why_not(
    work: Work,
) -> None:
    config = {"coordination": {"wake_guardrails": {"max_daily_session_minutes": 30}}}
    Agent.update(config=config).where(Agent.id == "eric").execute()
    worked(0, 100, owner="usr_stranger")
    worked(0, 100, source="pipeline")
    worked(-200, 100)
    worked(-60, 70, source="wake")  # ten of them are today's
    worked(5, 19)
    made = routine()
    assert len(come_up()) == 1
    work()
    worked(30, 1)
    overslept(Routine.get_by_id(made.id))
    assert come_up() == []
    why = told("pulse_skipped")[-1]["reason"]
    assert why == "eric has worked 30 minutes today, as long as it may"
    assert Firing.select().where(Firing.state == routines.SKIPPED).count() == 1


def test_what_is_at_work_counts_until_now(database: str) -> None:
    day, about = midnight(), {"agent_id": "eric", "source": "wake", "owner_id": "usr_owner"}
    Session(state="running", **about, started_at=day - 5 * MINUTE_MS).add()
    before = database_ms() - day
    _, _, spent = routines.at_work("eric", "usr_owner", "pr_1")
    assert before <= spent <= database_ms() - day


def test_without_a_worker_nothing_is_triggered(database: str) -> None:
    with pytest.raises(Unavailable):
        pulses.trigger(routine())
    assert Firing.select().count() == 0


def test_the_owner_of_a_closed_account_has_no_pulses(work: Work) -> None:
    from models.accounts import User

    User.update(is_active=False).where(User.id == "usr_owner").execute()
    routine()
    pulses.fire_due()
    work()
    assert Run.select().count() == 0


def test_deleting_while_it_comes_up_leaves_nothing_at_work(work: Work) -> None:
    for number in range(6):
        made = routine(f"Round {number}")
        pulses.fire_due()
        firing = Firing.select().where(Firing.routine_id == made.id).get()
        acts = iter([lambda made=made: commands.delete(made), lambda f=firing: pulses.start(f.id)])
        at_once(2, lambda acts=acts: next(acts)())
        work()
    assert not Run.select().where(Run.state.in_(runs.ACTIVE)).exists()
    assert not Firing.select().where(Firing.state.in_(routines.OPEN)).exists()


def test_how_often_a_routine_was_skipped_is_not_told_for_ever(database: str) -> None:
    for kind, at in (("pulse_skipped", 1), ("pulse_skipped", database_ms()), ("swarm_started", 1)):
        Activity.create(agent_id="finn", type=kind, data={}, created_at=at)
    routines.forget_old()
    left = Activity.select().order_by(Activity.id)
    assert [(each.type, each.created_at > 1) for each in left] == [
        ("pulse_skipped", True),
        ("swarm_started", False),
    ]
