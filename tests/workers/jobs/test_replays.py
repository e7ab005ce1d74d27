"""Replays: a run repeated from its record alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from flask.testing import FlaskClient

from models import base, config, replays, runs, steps
from models.accounts import User
from models.config import Settings
from models.pipelines import Pipeline, PipelineVersion
from models.runs import Run
from models.steps import Step
from tasks import executors, forks
from tasks import pipelines as pipeline_commands
from tasks import runs as commands
from tests.beginning import begun
from tests.environment import environment
from tests.processes.product import scripted
from tests.servers.author import Author
from tests.servers.provider import Answer
from tests.workers.jobs.dying import call, die, expire
from tests.workers.jobs.repeating import ANNA, ONE, TWICE, of, overheard, same, story
from workers.jobs import steps as jobs

Work = Callable[..., int]
SHAPED = """
id: shaped
name: Shaped
agents: [{id: yukihiro, name: Yukihiro}]
steps:
  - id: ANSWER
    agent: yukihiro
    input: "Count: {{task_description}}"
    outputs: [n]
    outputSchema:
      name: counted
      schema: {type: object, properties: {n: {type: integer}}, required: [n]}
"""
PLANNER = """
id: planner
name: Planner
agents: [{id: yukihiro, name: Yukihiro, tools: [read, write, bash, spawn_executor, swarm_execute]}]
steps:
  - {id: PLAN, agent: yukihiro, input: "{{task_description}}", outputs: [plan], maxRetries: 0}
"""
ORDER = {"agent_id": "yukihiro", "project_id": "p1", "task_id": "T-1"}


@pytest.fixture
def author(settings: Settings, work: Work) -> Iterator[Author]:
    """A provider on the loopback, as the one that there is a key for."""
    pipeline_commands.put("one", ONE)
    User(id=ANNA.id, email="anna@cast.example", is_admin=True).add()
    with (
        Author() as server,
        environment(OPENAI_API_KEY="key", OPENAI_BASE_URL=f"{server.url}/v1"),
    ):
        yield server


@pytest.mark.slow
def test_a_replay_repeats_tools_loops_and_reviews(
    start: Callable[..., Run], replayed: Callable[..., Run]
) -> None:
    for pipeline in ("engineering", "bugfix", "planning", "feature"):
        source = start(pipeline)
        assert source.state == runs.COMPLETED
        for definition in (replays.CURRENT, replays.PINNED):
            same(replayed(source, definition), source)


@pytest.mark.slow
def test_a_replay_repeats_visits_retries_and_failures(
    start: Callable[..., Run], replayed: Callable[..., Run]
) -> None:
    for plays in (
        {"VALIDATE": TWICE},
        {"FIX": [{"fail": "no compiler"}, {"fail": "no linker"}, {}]},
        {"FIX": [{"fail": "never"}]},
        {"FIX": [{"calls": [{"name": "bash", "arguments": {"command": "date +%N"}}]}]},
        {"FIX": [{"calls": [{"name": "nonsense", "arguments": "{"}]}]},
        {"FIX": [{"text": "just words", "tools": False}]},
    ):
        source = start(**plays)
        same(replayed(source), source)


def test_a_replay_repeats_answers_in_a_shape(
    start: Callable[..., Run], replayed: Callable[..., Run]
) -> None:
    pipeline_commands.put("shaped", SHAPED)
    source = start("shaped", ANSWER=[{"structured": {"n": "many"}}, {"structured": {"n": 3}}])
    assert [step.state for step in Step.of(source)] == [steps.FAILED, steps.COMPLETED]
    same(replayed(source), source)


def test_a_replay_of_a_planner_launches_nobody(
    start: Callable[..., Run], replayed: Callable[..., Run]
) -> None:
    pipeline_commands.put("planner", PLANNER)
    prompt = scripted("Write", EXECUTE=[{"calls": [write("A.txt")]}])
    task = {"key": "A", "title": "Write", **ORDER, "execution_prompt": prompt, "dependencies": []}
    tasks = [{name: value for name, value in task.items() if name != "agent_id"}]
    order = {name: task[name] for name in ("project_id", "task_id", "execution_prompt")}
    calls = [
        {"name": "swarm_execute", "arguments": {"tasks": tasks}},
        {"name": "spawn_executor", "arguments": order},
    ]
    source = start("planner", PLAN=[{"calls": calls}])
    assert source.state == runs.COMPLETED
    there = Run.select().count()
    assert there == 3
    same(replayed(source), source)
    assert Run.select().count() == there + 1
    for child in Run.select().where(Run.kind == runs.EXECUTOR):
        repeated = replayed(child)
        same(repeated, child)
        assert repeated.parent_id is None
        assert "commit_hashes" in repeated.outputs


def write(path: str) -> dict[str, Any]:
    return {"name": "write", "arguments": {"path": path, "content": f"this is {path}\n"}}


def test_a_replay_repeats_an_executor_that_failed(
    database: str, work: Work, replayed: Callable[..., Run]
) -> None:
    prompt = scripted("Write", EXECUTE=[{"fail": "no wood"}])
    source = executors.spawn("usr_anna", {**ORDER, "execution_prompt": prompt})
    work()
    assert of(source).outputs["error"] == "no wood"
    same(replayed(source), source)


def test_no_provider_is_needed_and_none_is_asked(
    author: Author, start: Callable[..., Run], replayed: Callable[..., Run], work: Work
) -> None:
    done = call("complete", outputs={"answer": "42"}, summary="did")
    author.lines = (Answer(calls=(call("write", path="a", content="x"),)), Answer(calls=(done,)))
    source = of(commands.start(ANNA, Pipeline.get_by_id("one"), ASKED))
    work()
    assert of(source).state == runs.COMPLETED
    asked = len(author.requests)
    config.settings.cache_clear()
    with pytest.MonkeyPatch.context() as off:
        off.delenv("OPENAI_API_KEY")
        off.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
        config.settings.cache_clear()
        same(replayed(source), source)
    assert len(author.requests) == asked


ASKED = {"task": "x", "model_override": "openai/gpt-5.2"}


def test_a_replay_turns_to_nobody_and_starts_no_program(
    author: Author, settings: Settings, replayed: Callable[..., Run], work: Work
) -> None:
    done = call("complete", outputs={"answer": "42"}, summary="did")
    acts = call("write", path="a", content="x"), call("bash", command="date"), done
    author.lines = tuple(Answer(calls=(act,)) for act in acts)
    source = commands.start(ANNA, Pipeline.get_by_id("one"), ASKED)
    with overheard() as at_first:
        work()
    assert of(source).state == runs.COMPLETED
    assert ("127.0.0.1", author.port) in at_first.addresses  # who did it again would be heard
    assert at_first.programs
    asked = len(author.requests)
    with overheard() as contacts:
        repeated = replayed(source)
    same(repeated, source)
    streams = urlsplit(settings.redis_url)  # of Postgres nothing is heard: its driver is not Python
    assert contacts.addresses <= {(streams.hostname, streams.port)}
    assert contacts.names <= {streams.hostname}
    assert contacts.programs == []
    assert len(author.requests) == asked


def test_trouble_that_the_provider_had_meanwhile_is_no_part_of_what_is_repeated(
    author: Author, replayed: Callable[..., Run], work: Work
) -> None:
    busy = Answer(status=429, error={"type": "rate_limit", "message": "slow down"})
    busy = Answer(status=429, error=busy.error, headers={"retry-after": "30"})
    done = Answer(calls=(call("complete", outputs={"answer": "42"}, summary="did"),))
    first = Answer(calls=(call("write", path="a", content="x"),))
    author.lines = (first, busy)
    source = commands.start(ANNA, Pipeline.get_by_id("one"), ASKED)
    work()
    (waiting,) = [step for step in Step.of(of(source)) if step.state == steps.QUEUED]
    assert waiting.due_at > base.now_ms() + 20_000
    author.lines = (first, done)
    hurry(source)
    work()
    assert of(source).state == runs.COMPLETED
    repeated = replayed(source)
    same(repeated, source)
    assert [step.due_at for step in Step.of(repeated)] == [0]


def hurry(run: Run) -> None:
    """What waits for its next try is due now."""
    Step.update(due_at=0).where((Step.run == run.id) & (Step.state == steps.QUEUED)).execute()
    base.db.execute_sql("UPDATE outbox SET due_at = 0")


def test_a_step_that_was_taken_over_is_repeated_as_one(
    start: Callable[..., Run], replayed: Callable[..., Run], work: Work
) -> None:
    form = {"task": scripted("x", FIX=[{"calls": [write("a.txt")]}])}
    source = commands.start(ANNA, Pipeline.get_by_id("bugfix"), form)
    step = begun(source.id)
    assert die(step.id, 2, "before")
    expire(step.id)
    work()
    assert of(source).state == runs.COMPLETED
    same(replayed(source), source)


def test_a_cancelled_run_is_repeated_up_to_there(
    start: Callable[..., Run], replayed: Callable[..., Run], work: Work
) -> None:
    source = commands.start(ANNA, Pipeline.get_by_id("bugfix"), {"task": "x"})
    work(1)  # FIX
    commands.cancel(source.id)
    work()
    repeated = replayed(source)
    assert (repeated.state, repeated.error) == (runs.FAILED, "Cancelled by a person")
    assert story(repeated)[0] == story(source)[0]
    assert [step.state for step in Step.of(repeated)] == [steps.COMPLETED, steps.FAILED]


def test_a_run_that_was_cancelled_before_a_step_began_is_repeated_up_to_there(
    start: Callable[..., Run], replayed: Callable[..., Run], work: Work
) -> None:
    new, paused = [
        commands.start(ANNA, Pipeline.get_by_id("bugfix"), {"task": "x"}) for _ in range(2)
    ]
    claimed = jobs.claim(begun(paused.id).id)
    assert claimed is not None
    commands.pause(paused.id)
    jobs.carry_out(*claimed)
    for source in (new, paused):
        commands.cancel(source.id)
        repeated = replayed(source)
        assert (repeated.state, repeated.error) == (runs.FAILED, "Cancelled by a person")
        assert story(repeated) == story(source)


def test_the_replay_of_a_fork_goes_by_the_record_of_the_original(
    start: Callable[..., Run], replayed: Callable[..., Run], work: Work
) -> None:
    source = start(VALIDATE=TWICE)
    form = {"from_step": "VALIDATE", "human_context": "Look at the clock"}
    forked = forks.fork(ANNA, source, form)
    work()
    repeated = replayed(forked)
    assert (repeated.state, repeated.error) == (runs.COMPLETED, None)
    assert story(repeated) == story(forked)
    assert repeated.outputs == of(forked).outputs
    commands.delete(source.id)
    again = replayed(forked)
    assert again.state == runs.FAILED
    assert again.error == (
        "The replay differs in step FIX: it was shared with an earlier run, which has been deleted"
        " with its record"
    )


def test_a_replay_can_be_restarted_and_goes_the_same_way(
    start: Callable[..., Run], replayed: Callable[..., Run], work: Work
) -> None:
    source = start(VALIDATE=TWICE)
    repeated = replayed(source)
    commands.restart(repeated.id)
    work()
    assert of(repeated).state == runs.COMPLETED
    assert story(repeated) == story(source)
    commands.restart_step(repeated.id, "VALIDATE")
    work()
    assert of(repeated).outputs == source.outputs
    assert story(repeated) == story(source)


def test_replays_are_over_http_too(
    owner: FlaskClient, stranger: FlaskClient, database: str, work: Work
) -> None:
    body = {"pipeline_id": "bugfix", "task": "x", "model_override": "scripted/demo"}
    source = owner.post("/v1/runs", json=body).json["id"]
    assert owner.post(f"/v1/runs/{source}/replay").status_code == 409
    work()
    assert stranger.post(f"/v1/runs/{source}/replay").status_code == 404
    assert owner.post(f"/v1/runs/{source}/replay", json={"definition": "x"}).status_code == 422
    told = owner.post(f"/v1/runs/{source}/replay").json
    assert (told["kind"], told["origin_id"], told["status"]) == ("replay", source, "pending")
    work()
    assert owner.get(f"/v1/runs/{told['id']}").json["status"] == "completed"
    assert PipelineVersion.select().count() > 0
