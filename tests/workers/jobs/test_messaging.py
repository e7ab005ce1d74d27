"""What agents tell each other: read once, by their own side; and whom they may wake how often."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest

from models import budgets, invariants, ledger, outbox, replays, runs
from models.activities import Activity
from models.agents import Agent
from models.base import db
from models.board import Task
from models.errors import Conflict
from models.events import Event
from models.inbox import MOST_UNREAD, InboxMessage
from models.outbox import Outbox
from models.pipelines import Pipeline
from models.principals import Principal
from models.projects import ProjectAgent
from models.runs import Run
from models.sessions import Session
from models.settings import GlobalSetting
from models.steps import Step
from models.wakes import Wake
from tasks import inbox
from tasks import pipelines as pipeline_commands
from tasks import runs as commands
from tasks.forks import fork
from tasks.replays import replay
from tests.beginning import begun
from tests.processes.product import scripted
from tests.web.boards import Crew
from tests.workers.jobs.dying import die, expire
from workers.jobs import runs as run_jobs
from workers.jobs import steps as jobs

OWNER = Principal("usr_owner", "user")
STRANGER = Principal("usr_stranger", "user")
PIPELINE = """
id: talk
name: Talk
agents:
  - {id: eric, name: Eric, tools: [message_agent, wake_agent]}
  - {id: finn, name: Finn, tools: [ls]}
steps:
  - {id: SAY, agent: eric, input: "{{task_description}}", outputs: [plan], onComplete: HEAR}
  - {id: HEAR, agent: finn, input: "Listen", outputs: [heard]}
"""
HELLO = {"to": "finn", "message": "The tests of the login are red."}
URGENT = {**HELLO, "reason": "blocker"}
# Whoever is woken by it does nothing, for tests that only ask whether somebody was.
BRIEF = {**URGENT, "message": 'Rest.\n```scripted\n{"default": {"tools": false}}\n```'}
Work = Callable[..., int]
Begin = Callable[..., Run]


@pytest.fixture
def begin(database: str) -> Begin:
    """Starts a run in which eric calls these tools, then finn has a step of his own."""
    with db.connection_context():
        pipeline_commands.put("talk", PIPELINE)

    def start(*calls: tuple[str, dict[str, Any]], who: Principal = OWNER, **form: Any) -> Run:
        told = [{"name": name, "arguments": arguments} for name, arguments in calls]
        form = {"task": scripted("Talk", SAY=[{"calls": told}]), **form}
        return commands.start(who, Pipeline.get_by_id("talk"), form)

    return start


def heard(run: Run) -> list[str]:
    """What the tools answered, in order."""
    rows = db.execute_sql(
        "SELECT data->>'result' FROM events WHERE run_id = %s AND type = 'tool_call_end'"
        " AND data->>'toolName' IN ('message_agent', 'wake_agent') ORDER BY seq",
        (run.id,),
    )
    return [text for (text,) in rows]


def prompts(agent: str, kind: str = runs.PIPELINE) -> list[str]:
    """What sessions of an agent were told as they began."""
    mine = Session.select().where(Session.agent_id == agent).order_by(Session.created_at)
    kinds = {run.id: run.kind for run in Run.select(Run.id, Run.kind)}
    return [each.user_prompt or "" for each in mine if kinds[each.run_id] == kind]


def woken() -> list[Run]:
    return list(Run.select().where(Run.kind == runs.WAKE).order_by(Run.created_at))


def rails(agent: str = "finn", **own: int) -> None:
    """How often an agent may be woken."""
    config = {"coordination": {"wake_guardrails": own}}
    Agent.update(config=config).where(Agent.id == agent).execute()


def test_a_message_is_read_by_the_next_session_and_by_no_other(begin: Begin, work: Work) -> None:
    run = begin(("message_agent", HELLO))
    work()
    assert Run.get_by_id(run.id).state == runs.COMPLETED
    assert "waits for finn" in heard(run)[0]
    (prompt,) = prompts("finn")
    assert "# Inbox" in prompt
    assert "From eric" in prompt
    assert HELLO["message"] in prompt
    (letter,) = InboxMessage.select()
    assert letter.read_at is not None
    begin()
    work()
    assert HELLO["message"] not in prompts("finn")[1]
    kinds = {row.type for row in Activity.select(Activity.type)}
    assert {"inbox_received", "message_sent"} <= kinds


def test_a_replay_reads_what_was_read_and_nothing_that_waits(begin: Begin, work: Work) -> None:
    run = begin(("message_agent", HELLO))
    work()
    inbox.send(Run.get_by_id(run.id), "eric", "finn", "Something new")
    again = replay(OWNER, Run.get_by_id(run.id), {"definition": replays.CURRENT})
    work()
    assert Run.get_by_id(again.id).state == runs.COMPLETED, Run.get_by_id(again.id).error
    assert InboxMessage.select().where(InboxMessage.read_at.is_null()).count() == 1


def test_what_one_side_says_the_other_never_reads(begin: Begin, work: Work) -> None:
    secret = {**HELLO, "message": "The owner's plans"}
    first = begin(("message_agent", secret))
    work(1)  # finn has not begun in that run
    commands.cancel(first.id)
    begin(who=STRANGER)
    work()
    assert not [prompt for prompt in prompts("finn") if "The owner's plans" in prompt]
    begin()
    work()
    assert [prompt for prompt in prompts("finn") if "The owner's plans" in prompt]


def test_wherever_a_worker_dies_a_message_is_sent_and_read_once(begin: Begin, work: Work) -> None:
    run = begin(("message_agent", HELLO))
    run_jobs.advance(run.id, 1)
    (step,) = Step.of(Run.get_by_id(run.id))
    assert die(step.id, 3, "before")  # the act is done, its result on no record
    assert not ledger.of(step.id)[-1].sealed
    expire(step.id)
    work(2)
    hearing = Step.of(Run.get_by_id(run.id))[-1]
    assert hearing.agent_id == "finn"
    die(hearing.id, 1, "after")
    expire(hearing.id)
    work()
    assert InboxMessage.select().count() == 1
    told = ledger.of(hearing.id)[0].response["messages"][-1]["parts"][0]["text"]
    assert "# Inbox\nFrom eric" in told


def test_two_sessions_that_begin_at_once_share_the_messages_and_read_none_twice(
    begin: Begin,
) -> None:
    sender, readers = begin(), [begin() for _ in range(4)]
    for number in range(12):
        with db.atomic():
            inbox.send(sender, "eric", "finn", f"Number {number}")
    gate = Barrier(4)

    def read(run: Run) -> list[str]:
        with db.connection_context():
            gate.wait()
            found, _ = InboxMessage.take("finn", run, f"exec_{run.id}")
            return [each.id for each in found]

    for run in readers:  # an execution that is under way keeps what it took
        row = {"run": run.id, "attempt": 9, "number": 1, "step_id": "X", "agent_id": "finn"}
        Step(id=f"exec_{run.id}", position=0, **row).add()
    with ThreadPoolExecutor(4) as pool:
        taken = [each for found in pool.map(read, readers) for each in found]
    assert len(taken) == len(set(taken))


def test_what_an_execution_took_and_never_read_another_one_reads(begin: Begin) -> None:
    sender, reader = begin(), begin()
    inbox.send(sender, "eric", "finn", "Hello")
    assert len(InboxMessage.take("finn", reader, "exec_that_is_gone")[0]) == 1
    assert len(InboxMessage.take("finn", reader, "exec_2")[0]) == 1


def test_an_inbox_does_not_grow_for_ever(begin: Begin) -> None:
    run = begin()
    with db.atomic():
        for number in range(MOST_UNREAD):
            inbox.send(run, "eric", "finn", f"Number {number}")
    with pytest.raises(Conflict), db.atomic():
        inbox.send(run, "eric", "finn", "One too many")
    with db.atomic():
        for way in ("hashjoin", "mergejoin", "hashagg", "sort", "material"):
            db.execute_sql(f"SET LOCAL enable_{way} = off")  # as it plans for a few rows
        found, left = InboxMessage.take("finn", run, "exec_1")
    assert (len(found), left) == (5, MOST_UNREAD - 5)


def test_what_cannot_be_told_says_why(begin: Begin, work: Work) -> None:
    run = begin(
        ("message_agent", {"to": "nobody", "message": "x"}),
        ("message_agent", {"to": "eric", "message": "x"}),
        ("wake_agent", {"to": "finn", "message": "x", "reason": "boredom"}),
    )
    work()
    unknown, oneself, reason = heard(run)
    assert "nobody not found" in unknown
    assert "That is you" in oneself
    assert "do not fit" in reason
    assert InboxMessage.select().count() == Wake.select().count() == 0


def test_a_wake_is_a_session_of_its_own_that_begins_with_the_message(
    begin: Begin, work: Work
) -> None:
    run = begin(("wake_agent", URGENT))
    work()
    (wake,) = woken()
    assert wake.state == runs.COMPLETED, wake.error
    assert (wake.owner_id, wake.agent_id, wake.parent_id) == ("usr_owner", "finn", run.id)
    assert wake.id in heard(run)[0]
    prompt = prompts("finn", runs.WAKE)[0]  # it waits for others in between
    assert "eric woke you (blocker)" in prompt
    assert "# Inbox\nFrom eric" in prompt
    assert URGENT["message"] in prompt
    assert "# Inbox" not in prompts("finn")[0]
    session = Session.get(Session.run_id == wake.id)
    assert (session.source, session.state) == ("wake", "completed")
    assert invariants.breaches(0) == []


def test_a_wake_that_is_held_back_says_why_and_keeps_the_message(begin: Begin, work: Work) -> None:
    run = begin(("wake_agent", BRIEF), ("wake_agent", BRIEF))
    work()
    first, second = heard(run)
    assert "awake now" in first
    assert "seconds ago" in second
    assert "waits in its inbox" in second
    assert len(woken()) == 1
    assert InboxMessage.select().count() == 2


def test_a_wake_for_which_the_budget_of_whoever_woke_has_no_room_fails_and_says_what_to_do(
    begin: Begin, work: Work
) -> None:
    run = begin(("wake_agent", BRIEF))
    while not woken():
        assert work(1)
    with db.atomic():
        budgets.limit(Run.locked(run.id), {"limit_tokens": 1})
    work()
    (wake,) = woken()
    assert wake.state == runs.FAILED
    assert f"PUT /v1/runs/{run.id}/budget, then try again" in wake.error
    assert invariants.breaches(0) == []


def test_nobody_is_woken_at_the_end_of_a_long_row_but_the_message_waits(
    begin: Begin, work: Work
) -> None:
    run = begin(("wake_agent", BRIEF))
    run.put(payers=[f"run_{number}" for number in range(runs.MOST_PAYERS)])
    work()
    assert "asked for one another in a row" in heard(run)[0]
    assert woken() == []
    assert InboxMessage.select().count() == 1


def test_a_session_wakes_others_three_times(begin: Begin, work: Work) -> None:
    names = ("finn", "chieko", "grace", "stas")
    run = begin(*[("wake_agent", {**BRIEF, "to": name}) for name in names])
    work()
    assert [("awake now" in said) for said in heard(run)] == [True, True, True, False]
    assert "a session may wake others 3 times" in heard(run)[3]


@pytest.mark.parametrize(
    ("own", "why"),
    [
        ({"cooldown_seconds": 0, "max_wakes_per_day": 2}, "2 times today"),
        ({"cooldown_seconds": 0, "max_wakes_per_pair_per_day": 2}, "from the same side"),
    ],
)
def test_a_day_has_so_many_wakes(begin: Begin, work: Work, own: dict[str, int], why: str) -> None:
    rails(**own)
    run = begin(*[("wake_agent", BRIEF)] * 3)
    work()
    assert len(woken()) == 2
    assert why in heard(run)[2]
    Wake.update(created_at=Wake.created_at - 86_400_000).execute()
    again = begin(("wake_agent", BRIEF))
    work()
    assert "awake now" in heard(again)[0]


def test_an_agent_that_has_worked_unasked_for_long_enough_today_is_not_woken(
    begin: Begin, work: Work
) -> None:
    rails(max_daily_session_minutes=0)
    run = begin(("wake_agent", BRIEF))
    work()
    assert "it has worked 0 minutes today, as long as it may" in heard(run)[0]
    assert woken() == []
    assert InboxMessage.select().count() == 1


def test_guardrails_may_be_as_wide_as_numbers_go(begin: Begin, work: Work) -> None:
    most = 2**53 - 1
    rails(max_daily_session_minutes=most, cooldown_seconds=most, max_wakes_per_day=most)
    run = begin(("wake_agent", BRIEF))
    work()
    assert "awake now" in heard(run)[0]


def test_one_owners_wakes_use_up_nothing_of_anothers(begin: Begin, work: Work) -> None:
    for who in (OWNER, STRANGER):
        begin(("wake_agent", BRIEF), who=who)
        work()
    assert {run.owner_id for run in woken()} == {"usr_owner", "usr_stranger"}


def test_nobody_is_woken_while_that_is_switched_off(begin: Begin, work: Work) -> None:
    GlobalSetting.insert(key="wakeEnabled", value=False, updated_at=1).execute()
    run = begin(("wake_agent", BRIEF))
    work()
    assert "switched off" in heard(run)[0]
    assert woken() == []


def test_of_many_who_wake_one_agent_at_once_one_does(begin: Begin) -> None:
    senders = [begin(("wake_agent", BRIEF)) for _ in range(6)]
    steps = []
    for run in senders:
        run_jobs.advance(run.id, 1)
        steps += Step.of(Run.get_by_id(run.id))
    Agent.update(concurrent_steps=10).execute()
    gate = Barrier(len(steps))

    def say(step: Step) -> None:
        with db.connection_context():
            gate.wait()
            jobs.execute(step.id)

    with ThreadPoolExecutor(len(steps)) as pool:
        list(pool.map(say, steps))
    assert len(woken()) == 1
    assert Wake.select().where(Wake.suppressed.is_null()).count() == 1
    assert Wake.select().count() == len(senders)


def test_wherever_a_worker_dies_an_agent_is_woken_once(begin: Begin, work: Work) -> None:
    rails(cooldown_seconds=0)
    run = begin(("wake_agent", BRIEF))
    run_jobs.advance(run.id, 1)
    (step,) = Step.of(Run.get_by_id(run.id))
    assert die(step.id, 3, "before")
    expire(step.id)
    work()
    assert "awake now" in heard(run)[0]
    assert len(woken()) == InboxMessage.select().count() == 1


@pytest.fixture
def notify(database: str) -> Begin:
    """Starts a run in which the pipeline has something to say to finn before finn's step."""
    text = PIPELINE.replace(
        "onComplete: HEAR}",
        "onResult: {RED: {notify: {agent: finn, message: Look at it}, goto: HEAR}}}",
    )
    with db.connection_context():
        pipeline_commands.put("talk", text)

    def start() -> Run:
        form = {"task": scripted("Talk", SAY=[{"outputs": {"plan": "RED"}}])}
        return commands.start(OWNER, Pipeline.get_by_id("talk"), form)

    return start


def notified() -> list[str]:
    """The runs whose history tells that somebody was notified, in order."""
    told = Event.select(Event.run_id).where(Event.type == "agent_message")
    return [event.run_id for event in told.order_by(Event.created_at)]


def test_a_pipeline_that_notifies_an_agent_leaves_a_message(notify: Begin, work: Work) -> None:
    notify()
    work()
    assert "From system" in prompts("finn")[0]
    assert "Look at it" in prompts("finn")[0]


def test_what_a_pipeline_has_to_say_of_a_step_it_says_once_however_often_one_goes_on_from_there(
    notify: Begin, work: Work
) -> None:
    run = notify()
    work()
    commands.restart_step(run.id, "HEAR")
    work()
    fork(OWNER, Run.get_by_id(run.id), {"from_step": "HEAR"})
    work()
    assert {each.state for each in Run.select()} == {runs.COMPLETED}
    assert len(prompts("finn")) == 3
    assert notified() == [run.id]
    assert InboxMessage.select().count() == 1
    commands.restart_step(run.id, "SAY")  # which comes to something anew
    work()
    assert notified() == [run.id, run.id]
    assert InboxMessage.select().count() == 2


def test_what_a_pipeline_has_to_say_while_its_run_is_paused_it_says_once(
    notify: Begin, work: Work
) -> None:
    run = notify()
    claimed = jobs.claim(begun(run.id).id)
    assert claimed is not None
    commands.pause(run.id)
    jobs.carry_out(*claimed)
    commands.resume(run.id)
    work()
    assert Run.get_by_id(run.id).state == runs.COMPLETED
    assert notified() == [run.id]
    assert InboxMessage.select().count() == 1


def test_a_replay_tells_that_somebody_was_notified_and_notifies_nobody(
    notify: Begin, work: Work
) -> None:
    run = notify()
    work()
    repeated = replay(OWNER, Run.get_by_id(run.id), {})
    work()
    assert Run.get_by_id(repeated.id).state == runs.COMPLETED
    assert notified() == [run.id, repeated.id]
    assert InboxMessage.select().count() == 1


@pytest.fixture
def crew(owner: Any) -> Crew:
    return Crew(owner)


def test_a_task_that_comes_to_where_an_agent_looks_after_it_wakes_the_agent_if_it_is_on_the_crew(
    crew: Crew, work: Work
) -> None:
    one, other = (crew.add(name, workType="custom") for name in ("One", "Other"))
    crew.to(one, "test")
    work()
    assert woken() == []
    ProjectAgent(project=crew.id, agent_id="chieko").add()
    crew.to(other, "test")
    work()
    (wake,) = woken()
    assert (wake.agent_id, wake.project_id, wake.owner_id) == ("chieko", crew.id, "usr_owner")
    assert other in wake.task
    assert Task.get_by_id(other).status == "test"
    crew.to(one, "review")
    crew.to(one, "test")
    work()
    assert len(woken()) == 1  # it was woken just now


def test_an_agent_is_woken_though_redis_forgets_to_but_not_for_what_has_moved_on(
    crew: Crew, work: Work
) -> None:
    one, other = (crew.add(name, workType="custom") for name in ("One", "Other"))
    ProjectAgent(project=crew.id, agent_id="chieko").add()
    crew.to(one, "test")
    crew.to(other, "test")
    crew.to(one, "review")
    with db.atomic():
        outbox.take(1000)  # Redis was emptied with these
    assert work() == 0
    Outbox.update(due_at=0).execute()
    work()
    (wake,) = woken()
    assert other in wake.task
