"""Replays: a run repeated from its record alone, and the first difference named."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask.testing import FlaskClient

from models import base, config, events, invariants, replays, runs, steps
from models.accounts import Principal
from models.agents import Agent
from models.config import Settings
from models.ledger import Entry
from models.llm_calls import LlmCall
from models.pipelines import Pipeline, PipelineVersion
from models.runs import Run
from models.steps import Step
from tasks import executors, forks
from tasks import pipelines as pipeline_commands
from tasks import runs as commands
from tasks.replays import replay
from tests.processes.product import scripted
from tests.servers.author import Author
from tests.servers.provider import Answer
from tests.workers.jobs.dying import call, die, expire

ANNA = Principal("usr_anna", "user")
Work = Callable[..., int]
TWICE = [{"outputs": {"validation_result": "FAIL"}}, {"outputs": {"validation_result": "PASS"}}]
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
ONE = """
id: one
name: one
agents: [{id: yukihiro, name: Yukihiro}]
steps:
  - {id: DO, agent: yukihiro, input: "Do it", outputs: [answer], maxRetries: 1}
"""
MORE = '  - {id: MORE, agent: yukihiro, input: "More", outputs: [more]}\n'
PLANNER = """
id: planner
name: Planner
agents: [{id: yukihiro, name: Yukihiro, tools: [read, write, bash, spawn_executor, swarm_execute]}]
steps:
  - {id: PLAN, agent: yukihiro, input: "{{task_description}}", outputs: [plan], maxRetries: 0}
"""
ORDER = {"agent_id": "yukihiro", "project_id": "p1", "task_id": "T-1"}


@pytest.fixture
def start(database: str, work: Work) -> Callable[..., Run]:
    """Runs a pipeline to its end."""

    def begin(pipeline: str = "bugfix", **plays: Any) -> Run:
        form = {"task": scripted("Mend the login", **plays), "model_override": "scripted/demo"}
        run = commands.start(ANNA, Pipeline.get_by_id(pipeline), form)
        work()
        return of(run)

    return begin


@pytest.fixture
def replayed(work: Work) -> Callable[..., Run]:
    """Replays a run to its end; nothing outside is touched on the way."""

    def repeat(source: Run, definition: str = replays.CURRENT) -> Run:
        calls, entries = LlmCall.select().count(), Entry.select().count()
        run = replay(ANNA, of(source), {"definition": definition})
        work()
        assert (LlmCall.select().count(), Entry.select().count()) == (calls, entries)
        assert not (config.settings().data / "workspaces" / run.id).exists()
        return of(run)

    return repeat


@pytest.fixture
def author(monkeypatch: pytest.MonkeyPatch, settings: Settings, work: Work) -> Iterator[Author]:
    """A provider on the loopback, as the one that there is a key for."""
    pipeline_commands.put("one", ONE)
    with Author() as server:
        monkeypatch.setenv("OPENAI_API_KEY", "key")
        monkeypatch.setenv("OPENAI_BASE_URL", f"{server.url}/v1")
        config.settings.cache_clear()
        yield server
    monkeypatch.undo()
    config.settings.cache_clear()


def of(run: Run) -> Run:
    return Run.get_by_id(run.id)


KEPT = ("step_id", "agent_id", "visit", "retry", "execution", "inputs", "loop", "feedback")
CAME = ("state", "outputs", "text", "error", "transient", "final", "commit", "model_used")


def story(run: Run) -> list[dict[str, Any]]:
    """Everything that executions were told and came to."""
    return [{name: getattr(step, name) for name in (*KEPT, *CAME)} for step in Step.of(of(run))]


def same(replay_run: Run, source: Run) -> None:
    """The replay came to what its source came to, step by step, for nothing."""
    source = of(source)
    assert replay_run.error == source.error
    assert replay_run.state == source.state
    assert replay_run.outputs == source.outputs
    assert replay_run.workspace_commit == source.workspace_commit
    assert story(replay_run) == story(source)
    assert (replay_run.kind, replay_run.origin_id) == (runs.REPLAY, source.id)
    assert LlmCall.select().where(LlmCall.run_id == replay_run.id).count() == 0
    assert said(replay_run) == said(source)
    assert invariants.breaches(0) == []


TOLD = ("turn_end", "tool_call_start", "tool_call_end", "context_compacted", "step_complete")


def said(run: Run) -> list[tuple[str, Any]]:
    """What was said and done, as the streams tell it."""
    names = ("stepId", "text", "toolName", "args", "result", "outputs")
    happened = [event for event in events.after(run.id, 0, 100_000) if event.type in TOLD]
    told = [(event.type, [event.data.get(name) for name in names]) for event in happened]
    # who waits for others begins the same call again when they are done
    return [one for one, before in zip(told, [None, *told], strict=False) if one != before]


def test_a_replay_repeats_tools_loops_and_reviews(
    start: Callable[..., Run], replayed: Callable[..., Run]
) -> None:
    for pipeline in ("engineering", "bugfix", "planning", "feature"):
        source = start(pipeline)
        assert source.state == runs.COMPLETED
        for definition in (replays.CURRENT, replays.PINNED):
            same(replayed(source, definition), source)


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


def test_trouble_with_the_provider_is_repeated_without_its_delays(
    author: Author, replayed: Callable[..., Run], work: Work
) -> None:
    busy = Answer(status=429, error={"type": "rate_limit", "message": "slow down"})
    busy = Answer(status=429, error=busy.error, headers={"retry-after": "30"})
    done = Answer(calls=(call("complete", outputs={"answer": "42"}, summary="did"),))
    author.lines = (Answer(calls=(call("write", path="a", content="x"),)), busy)
    source = commands.start(ANNA, Pipeline.get_by_id("one"), ASKED)
    work()
    (waiting,) = [step for step in Step.of(of(source)) if step.state == steps.QUEUED]
    assert waiting.due_at > base.now_ms() + 20_000
    author.lines = (done,)
    hurry(source)
    work()
    assert of(source).state == runs.COMPLETED
    repeated = replayed(source)
    same(repeated, source)
    assert story(repeated)[0]["transient"]
    assert all(step.due_at == 0 for step in Step.of(repeated))


def hurry(run: Run) -> None:
    """What waits for its next try is due now."""
    Step.update(due_at=0).where((Step.run == run.id) & (Step.state == steps.QUEUED)).execute()
    base.db.execute_sql("UPDATE outbox SET due_at = 0")


def test_a_step_that_was_taken_over_is_repeated_as_one(
    start: Callable[..., Run], replayed: Callable[..., Run], work: Work
) -> None:
    form = {"task": scripted("x", FIX=[{"calls": [write("a.txt")]}])}
    source = commands.start(ANNA, Pipeline.get_by_id("bugfix"), form)
    work(1)
    (step,) = Step.of(of(source))
    assert die(step.id, 2, "before")
    expire(step.id)
    work()
    assert of(source).state == runs.COMPLETED
    same(replayed(source), source)


def test_a_cancelled_run_is_repeated_up_to_there(
    start: Callable[..., Run], replayed: Callable[..., Run], work: Work
) -> None:
    source = commands.start(ANNA, Pipeline.get_by_id("bugfix"), {"task": "x"})
    work(2)
    commands.cancel(source.id)
    work()
    repeated = replayed(source)
    assert (repeated.state, repeated.error) == (runs.FAILED, "Cancelled by a person")
    assert story(repeated)[0] == story(source)[0]
    assert [step.state for step in Step.of(repeated)] == [steps.COMPLETED, steps.FAILED]


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


def test_a_changed_persona_is_found_out(
    start: Callable[..., Run], replayed: Callable[..., Run]
) -> None:
    source = start()
    agent = Agent.get_by_id("chieko")
    soul = agent.files["SOUL.md"] + "\nNever trust a green light."
    Agent.update(files=agent.files | {"SOUL.md": soul}).where(Agent.id == "chieko").execute()
    repeated = replayed(source)
    assert repeated.state == runs.FAILED
    assert repeated.error is not None
    assert repeated.error.startswith(
        "The replay differs in step VALIDATE: the system prompt differs in line "
    )
    assert 'now "Never trust a green light."' in repeated.error
    assert [step.state for step in Step.of(repeated)] == [steps.COMPLETED, steps.FAILED]
    assert Step.of(repeated)[1].final
    same(replayed(source, replays.PINNED), source)


@pytest.mark.parametrize(
    ("was", "is_now", "told"),
    [
        (
            "1. Reproduce it with",
            "1. Show it with",
            'step FIX: the task message differs in line 13: on record "1. Reproduce it with',
        ),
        ("outputs: [root_cause,", "outputs: [cause, root_cause,", "step FIX: the system prompt"),
        ("    agent: yukihiro\n", "    agent: yukihiro\n    tools: [read]\n", "Your tools: read"),
        (
            "    agent: yukihiro\n",
            "    agent: yukihiro\n    maxOutputTokens: 77\n",
            "step FIX: what the model is asked with differs in max_output_tokens: "
            'on record "32768", now "77"',
        ),
        ("PASS: {}", "PASS: {goto: FIX}", "goes on with step FIX now; on record it ended"),
    ],
)
def test_a_changed_pipeline_is_found_out(
    start: Callable[..., Run],
    replayed: Callable[..., Run],
    was: str,
    is_now: str,
    told: str,
) -> None:
    source = start()
    text = Pipeline.get_by_id("bugfix").yaml
    assert was in text
    stored = pipeline_commands.put("bugfix", text.replace(was, is_now, 1))
    assert stored.valid, stored.errors
    repeated = replayed(source)
    assert repeated.state == runs.FAILED
    assert told in str(repeated.error)
    same(replayed(source, replays.PINNED), source)


def test_a_pipeline_that_goes_another_way_is_found_out(
    start: Callable[..., Run], replayed: Callable[..., Run]
) -> None:
    one = ONE.replace("id: one", "id: two")
    two = one.replace("maxRetries: 1", "onComplete: MORE") + MORE
    pipeline_commands.put("two", two)
    source = start("two")
    pipeline_commands.put("two", one)
    assert replayed(source).error == (
        "The replay differs: the pipeline ends here now; on record it went on with step MORE"
    )
    pipeline_commands.put("two", two.replace("id: DO", "id: DID"))
    assert replayed(source).error == (
        "The replay differs: the pipeline goes on with step DID now; on record it went on with"
        " step DO"
    )
    pipeline_commands.put("two", one)
    shorter = start("two")
    pipeline_commands.put("two", two)
    assert replayed(shorter).error == (
        "The replay differs: the pipeline goes on with step MORE now; on record it ended here,"
        " completed"
    )


def test_a_difference_fails_the_run_even_where_failures_lead_on(
    start: Callable[..., Run], replayed: Callable[..., Run]
) -> None:
    one = ONE.replace("id: one", "id: saved")
    saved = one.replace("maxRetries: 1", "onComplete: MORE, onFailure: {goto: MORE}") + MORE
    pipeline_commands.put("saved", saved)
    source = start("saved")
    pipeline_commands.put("saved", saved.replace("Do it", "Do that"))
    repeated = replayed(source)
    assert repeated.state == runs.FAILED
    assert 'the task message differs in line 11: on record "Do it", now "Do that"' in str(
        repeated.error
    )
    assert len(Step.of(repeated)) == 1


def test_a_changed_model_is_found_out_but_not_the_servers_default(
    database: str, work: Work, replayed: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    source = commands.start(ANNA, Pipeline.get_by_id("bugfix"), {"task": "x"})
    work()
    monkeypatch.setenv("DEFAULT_MODEL", "openai/gpt-5.2")
    config.settings.cache_clear()
    same(replayed(source), source)
    agent = Agent.get_by_id("yukihiro")
    changed = agent.config | {"model": "anthropic/claude-opus-4-7"}
    Agent.update(config=changed).where(Agent.id == agent.id).execute()
    assert replayed(source).error == (
        'The replay differs in step FIX: the model differs: on record "scripted/demo", now'
        ' "anthropic/claude-opus-4-7"'
    )
    monkeypatch.undo()
    config.settings.cache_clear()


def test_steps_done_before_there_was_a_record_say_so(
    start: Callable[..., Run], replayed: Callable[..., Run]
) -> None:
    source = start()
    Entry.delete().execute()
    assert replayed(source).error == (
        "The replay differs in step FIX: there is no record of it: it was done before answers were"
        " kept"
    )


def test_a_record_that_was_tampered_with_differs(
    start: Callable[..., Run], replayed: Callable[..., Run]
) -> None:
    source = start()
    (first, *_) = Step.of(source)
    entry = Entry.select().where((Entry.execution == first.id) & (Entry.kind == "tool")).first()
    here = (Entry.execution == first.id) & (Entry.seq == entry.seq)
    Entry.update(key="0" * 32).where(here).execute()
    assert f"it calls {entry.name} with other arguments" in str(replayed(source).error)
    Entry.update(response=json.loads('{"text": "other", "is_error": false, "seconds": 0}'))
    Entry.delete().where((Entry.execution == first.id) & (Entry.seq >= entry.seq)).execute()
    assert replayed(source).error == (
        "The replay differs in step FIX: it goes on where the record ends: calls " + entry.name
    )


def test_a_source_deleted_amid_its_replay_is_told(start: Callable[..., Run], work: Work) -> None:
    source = start()
    run = replay(ANNA, source, {})
    commands.delete(source.id)
    work()
    assert of(run).state == runs.FAILED
    assert "the run it belongs to was deleted" in str(of(run).error)


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
