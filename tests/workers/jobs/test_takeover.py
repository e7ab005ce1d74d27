"""A step goes on from its ledger, wherever its workers die and whenever they wake again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from models import base, config, events, runs, steps
from models.agents import Agent
from models.blobs import Blobs
from models.config import Settings
from models.events import Event
from models.ledger import Entry
from models.llm_calls import LlmCall
from models.runs import Run
from models.steps import Step
from tests.conftest import run_sql
from tests.environment import environment
from tests.servers.author import Author
from tests.servers.provider import Answer
from tests.workers.jobs.dying import (
    Record,
    Sleeper,
    call,
    die,
    expire,
    places,
    sealed_turns,
)
from workers.agents.acts import UNKNOWN
from workers.halting import Stopped
from workers.jobs import runs as run_jobs
from workers.jobs import steps as jobs
from workers.workspaces import Saved, Workspace, open_workspace

pytestmark = pytest.mark.slow  # real git, each time a worker dies
OPENAI, CLAUDE = "openai/gpt-5.2", "anthropic/claude-sonnet-4-6"
PIPELINE = """
id: taken-over
name: taken over
agents: [{id: yukihiro, name: Yukihiro}]
steps:
  - {id: DO, agent: yukihiro, input: "Do it", outputs: [answer], maxRetries: 0}
"""
STORY = (
    Answer(
        thinking=("I should ", "write."),
        signature="c2lnbmVk",
        text=("First a file.",),
        calls=(call("write", path="a.txt", content="one\ntwo\n"),),
    ),
    Answer(
        calls=(
            call("edit", path="a.txt", old_text="two", new_text="three"),
            call("read", path="a.txt"),
            call("bash", command="echo x >> count.txt; cat a.txt"),
        )
    ),
    Answer(text=("And again.",), calls=(call("bash", command="echo y >> count.txt; ls"),)),
    Answer(calls=(call("read", path="nothing.txt"), call("nonsense", of="this"))),
    Answer(text=("Done.",), calls=(call("complete", outputs={"answer": "42"}, summary="did"),)),
)
TURNS = len(STORY)
HANG_UP = """
    SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid()
"""
ACTS = 2 * (TURNS + sum(len(answer.calls) for answer in STORY))  # events: each begins and ends
FILES = {"a.txt": "one\nthree\n", "count.txt": "x\ny\n"}


@pytest.fixture
def provider(settings: Settings, work: Callable[[], int]) -> Iterator[Author]:
    """A provider that tells the STORY over both protocols."""
    with Author(*STORY) as server:
        keys = {"OPENAI_API_KEY": "key", "ANTHROPIC_API_KEY": "key"}
        with environment(OPENAI_BASE_URL=f"{server.url}/v1", ANTHROPIC_BASE_URL=server.url, **keys):
            yield server


@pytest.fixture
def begin(admin: FlaskClient, owner: FlaskClient, provider: Author) -> Callable[..., str]:
    """Starts a run; gives the id of its one step's execution."""
    for name in ("openai", "anthropic"):
        admin.post("/v1/admin/shared-providers", json={"providerId": name})

    def started(model: str = OPENAI, pipeline: str = PIPELINE) -> str:
        stored = admin.put("/v1/pipelines/taken-over", json={"yaml_content": pipeline})
        assert stored.status_code == 200, stored.json
        provider.requests.clear()
        body = {"pipeline_id": "taken-over", "task_description": "x", "model_override": model}
        run_id = owner.post("/v1/runs", json=body).json["id"]
        run_jobs.advance(run_id, 1)
        (step,) = Step.of(Run.get_by_id(run_id))
        return str(step.id)

    return started


def of(execution_id: str) -> Step:
    return Step.get_by_id(execution_id)


def finished(execution_id: str, turns: int = TURNS) -> None:
    """The step ended as it would have without any trouble, and there is one record of it."""
    step = of(execution_id)
    run = Run.get_by_id(step.run_id)
    assert (run.state, run.error) == (runs.COMPLETED, None)
    assert run.outputs == {"answer": "42"}
    assert [call.turn for call in calls(execution_id)] == list(range(1, turns + 1))
    ledger = list(Entry.select().where(Entry.execution == execution_id).order_by(Entry.seq))
    assert [entry.seq for entry in ledger] == list(range(len(ledger)))
    assert all(entry.sealed for entry in ledger)
    numbers = [event.seq for event in events.after(run.id, 0, 10_000)]
    assert numbers == list(range(1, run.event_seq + 1))
    assert run.workspace_commit == step.commit


def calls(execution_id: str) -> list[LlmCall]:
    mine = LlmCall.select().where(LlmCall.run_id == of(execution_id).run_id)
    return list(mine.order_by(LlmCall.turn))


@contextmanager
def opened(execution_id: str) -> Iterator[Workspace]:
    """The files as another machine would get them."""
    run, chosen = Run.get_by_id(of(execution_id).run_id), config.settings()
    saved = Saved(str(run.workspace_commit), str(run.workspace_snapshot))
    with open_workspace(
        chosen.data / "elsewhere", run.id, saved, Blobs(chosen.blob_url)
    ) as workspace:
        yield workspace


def files(execution_id: str) -> dict[str, str]:
    with opened(execution_id) as workspace:
        return {path.name: path.read_text() for path in workspace.tree.glob("*.txt")}


def history(execution_id: str) -> list[str]:
    """Which executions have committed, the last one first."""
    with opened(execution_id) as workspace:
        return workspace.git("log", "--format=%(trailers:key=Djinn-Step,valueonly)").split()


def carried_out(execution_id: str) -> None:
    """A worker that lives takes the step."""
    jobs.execute(execution_id)
    assert of(execution_id).state == steps.COMPLETED, of(execution_id).error


@pytest.mark.slow
@pytest.mark.parametrize("model", [OPENAI, CLAUDE])
def test_wherever_a_worker_dies_the_next_one_goes_on_from_there(
    begin: Callable[[str], str], provider: Author, model: str
) -> None:
    chosen = [*places(ACTS)]
    for place in chosen[::2] if model == OPENAI else chosen[1::5]:
        execution = begin(model)
        assert die(execution, *place), place
        known = sealed_turns(execution)
        asked = len(provider.requests)
        expire(execution)
        carried_out(execution)
        assert provider.turns[asked:] == [turn for turn in range(TURNS) if turn not in known]
        assert asked - len(known) in (0, 1), place  # at most the call under way is repeated
        finished(execution)
        assert files(execution) == FILES
        assert history(execution) == [execution]


@pytest.mark.slow
@examples(
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(deaths=st.lists(st.sampled_from([*places(ACTS)]), min_size=1, max_size=4))
def test_a_step_that_loses_many_workers_is_done_as_if_it_had_lost_none(
    begin: Callable[[str], str], provider: Author, deaths: list[tuple[int, str]]
) -> None:
    execution = begin(OPENAI)
    for death in sorted(deaths, key=lambda place: place[0]):
        known, asked = sealed_turns(execution), len(provider.requests)
        if Run.get_by_id(of(execution).run_id).state != runs.RUNNING:
            break
        die(execution, *death)
        assert not known & set(provider.turns[asked:])
        Step.update(tries=1).where(Step.id == execution).execute()  # not what this is about
        expire(execution)
    known, asked = sealed_turns(execution), len(provider.requests)
    carried_out(execution)
    assert provider.turns[asked:] == [turn for turn in range(TURNS) if turn not in known]
    finished(execution)
    assert files(execution) == FILES
    assert history(execution) == [execution]


@pytest.mark.parametrize("place", [place for place in places(ACTS) if place[1] != "after"][::4])
def test_a_worker_that_wakes_after_its_step_was_taken_over_does_nothing_more(
    begin: Callable[[str], str], provider: Author, place: tuple[int, str]
) -> None:
    execution = begin(OPENAI)
    sleeper = Sleeper(execution, *place)
    sleeper.start()
    assert sleeper.asleep.wait(20)
    expire(execution)
    carried_out(execution)
    finished(execution)
    before, asked = Record.of(of(execution).run_id), len(provider.requests)
    sleeper.wake.set()
    sleeper.join(20)
    assert isinstance(sleeper.raised, Stopped)
    assert len(provider.requests) == asked
    assert Record.of(of(execution).run_id) == before
    assert files(execution) == FILES
    assert history(execution) == [execution]


@pytest.mark.parametrize("model", [OPENAI, CLAUDE])
def test_a_worker_stuck_in_a_model_call_is_replaced_and_its_answer_counts_no_more(
    begin: Callable[[str], str], provider: Author, model: str
) -> None:
    execution = begin(model)
    provider.hanging = {2}
    stuck = Sleeper(execution)
    stuck.start()
    assert provider.asked.wait(20)
    expire(execution)
    carried_out(execution)
    finished(execution)
    assert provider.turns == [0, 1, 2, 2, 3, 4]
    before = Record.of(of(execution).run_id)
    provider.released.set()
    stuck.join(20)
    assert stuck.raised is not None
    assert Record.of(of(execution).run_id) == before
    assert provider.turns == [0, 1, 2, 2, 3, 4]


@pytest.mark.parametrize("turn", range(TURNS))
def test_a_step_whose_provider_fails_amid_its_work_goes_on_from_there(
    begin: Callable[[str], str], provider: Author, turn: int
) -> None:
    Agent.update(config={"network": True}).where(Agent.id == "yukihiro").execute()
    execution = begin(OPENAI)
    busy = Answer(status=503, error={"type": "server_error", "message": "busy"})
    provider.lines = (*STORY[:turn], busy, *STORY[turn + 1 :])
    jobs.execute(execution)
    assert (of(execution).state, of(execution).hindrances) == (steps.QUEUED, 1)
    provider.lines = STORY
    Step.update(due_at=0).where(Step.id == execution).execute()
    carried_out(execution)
    assert provider.turns == sorted([*range(TURNS), turn])
    finished(execution)
    assert files(execution) == FILES
    assert history(execution) == [execution]


def test_a_step_that_comes_further_between_its_troubles_bears_any_number_of_them(
    begin: Callable[[str], str], provider: Author
) -> None:
    execution = begin(OPENAI)
    busy = Answer(status=503, error={"type": "server_error", "message": "busy"})
    for turn in range(TURNS):
        provider.lines = (*STORY[:turn], busy, *STORY[turn + 1 :])
        for time in range(1, 3):
            jobs.execute(execution)
            assert (of(execution).state, of(execution).hindrances) == (steps.QUEUED, time)
            Step.update(due_at=0).where(Step.id == execution).execute()
    provider.lines = STORY
    carried_out(execution)
    finished(execution)


def test_a_command_that_may_have_changed_the_world_is_not_repeated(
    begin: Callable[[str], str], provider: Author
) -> None:
    Agent.update(config={"network": True}).where(Agent.id == "yukihiro").execute()
    execution = begin(OPENAI)
    bash = 2 + 2 + 2 + 2 * 2  # the fifth act's beginning: write, edit, read before it
    assert die(execution, bash, "after")
    expire(execution)
    carried_out(execution)
    finished(execution)
    (told,) = [
        part["content"]
        for part in provider.requests[-1].body["messages"]
        if part["role"] == "tool" and "outcome is unknown" in str(part["content"])
    ]
    assert UNKNOWN in told
    assert files(execution)["count.txt"] == "y\n"  # what the lost one did to the files is undone
    ends = Event.select().where(Event.type == "tool_call_end")
    assert [event.data["result"] for event in ends].count(UNKNOWN) == 1


@pytest.mark.parametrize("place", [(0, "after"), (1, "before"), (4, "before"), (ACTS, "end")])
def test_an_answer_outlives_the_connection_it_was_to_be_written_on(
    begin: Callable[[str], str], provider: Author, database: str, place: tuple[int, str]
) -> None:
    execution = begin(OPENAI)
    worker = Sleeper(execution, *place)
    worker.start()
    assert worker.asleep.wait(20)
    run_sql(database, HANG_UP)
    base.db.close()
    base.db.connect()
    worker.wake.set()
    worker.join(30)
    assert worker.raised is None
    assert provider.turns == [*range(TURNS)]
    assert len(Event.select().where(Event.type == "llm_call")) == TURNS
    finished(execution)


def test_six_workers_lost_in_the_first_model_call_are_one_too_many(
    begin: Callable[[str], str], provider: Author
) -> None:
    execution = begin(OPENAI)
    for _ in range(2 * steps.MOST_TRIES):
        assert die(execution, 0, "after")
        expire(execution)
    run = Run.get_by_id(of(execution).run_id)
    assert (run.state, run.quarantined) == (runs.FAILED, True)


def test_a_command_in_the_world_that_kills_its_worker_is_quarantined_by_name(
    begin: Callable[[str], str], provider: Author
) -> None:
    """Each death is written down as an unknown outcome and answered by the model: no progress."""
    Agent.update(config={"network": True}).where(Agent.id == "yukihiro").execute()
    provider.lines = tuple(Answer(calls=(call("bash", command=f"true {n}"),)) for n in range(18))
    execution = begin(OPENAI)
    for number in range(2 * steps.MOST_TRIES):
        assert of(execution).state == steps.QUEUED
        assert die(execution, 3 * number + 2, "after")  # the command has begun
        expire(execution)
    run = Run.get_by_id(of(execution).run_id)
    assert (run.state, run.quarantined) == (runs.FAILED, True)
    assert run.error == (
        "quarantined: its worker was lost, 6 times at the same point of step DO (tool bash)"
    )


def test_a_command_that_kills_whenever_it_is_repeated_is_quarantined_whatever_comes_between(
    begin: Callable[[str], str], provider: Author
) -> None:
    Agent.update(config={"network": True}).where(Agent.id == "yukihiro").execute()
    kills, looks = call("bash", command="kills"), call("read", path="log.txt")
    provider.lines = (Answer(calls=(kills,)), *[Answer(calls=(looks, kills))] * 9)
    execution = begin(OPENAI)
    for place in (2, 7):
        assert die(execution, place, "after")
        expire(execution)
        assert of(execution).state == steps.QUEUED
    assert die(execution, 12, "after")
    jobs.give_back(of(execution).run, of(execution), jobs.LOST, proven=True)
    assert Run.get_by_id(of(execution).run_id).quarantined


def test_a_step_that_comes_further_after_each_death_is_not_to_blame(
    begin: Callable[[str], str], provider: Author
) -> None:
    Agent.update(config={"network": True}).where(Agent.id == "yukihiro").execute()
    lines = [[call("read", path="a.txt"), call("bash", command=f"true {n}")] for n in range(8)]
    lines.append([call("complete", outputs={"answer": "42"}, summary="did")])
    provider.lines = tuple(Answer(calls=tuple(calls)) for calls in lines)
    execution = begin(OPENAI)
    for number in range(5):
        assert die(execution, 4 + 4 * number, "after"), number
        expire(execution)
        assert (of(execution).state, of(execution).tries) == (steps.QUEUED, 1)
    carried_out(execution)
    assert Run.get_by_id(of(execution).run_id).state == runs.COMPLETED


@pytest.mark.parametrize(("further", "lost"), [(False, 2), (True, 1)])
def test_a_step_begun_anew_is_suspected_of_the_workers_it_lost_before(
    begin: Callable[..., str], provider: Author, further: bool, lost: int
) -> None:
    """Otherwise one that kills its workers and times out between two of them kills for ever."""
    twice = PIPELINE.replace("maxRetries: 0", "maxRetries: 1")
    execution = begin(OPENAI, twice)
    for _ in range(2):
        assert die(execution, 0, "after")
        expire(execution)
    if further:
        assert die(execution, 4, "after")
        expire(execution)
    taken = jobs.claim(execution)
    assert taken is not None
    jobs.settle(*taken, jobs.timed_out(*taken))
    earlier, anew = Step.of(Run.get_by_id(of(execution).run_id))
    assert (earlier.state, anew.state, anew.retry) == (steps.FAILED, steps.QUEUED, 1)
    assert anew.tries == lost
