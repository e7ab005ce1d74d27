"""Replays of what has changed since: the first difference is found and named."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from models import config, replays, runs, steps
from models.agents import Agent
from models.ledger import Entry
from models.pipelines import Pipeline
from models.runs import Run
from models.settings import GlobalSetting
from models.steps import Step
from tasks import pipelines as pipeline_commands
from tasks import runs as commands
from tasks.replays import replay
from tests.beginning import begun
from tests.workers.jobs.dying import die, expire
from tests.workers.jobs.repeating import ANNA, MORE, ONE, of, same

Work = Callable[..., int]


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
        "The replay differs: the pipeline ends here now, completed; on record it went on with"
        " step MORE"
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


LISTED = """
id: listed
name: Listed
agents: [{id: yukihiro, name: Yukihiro}]
steps:
  - {id: LIST, agent: yukihiro, input: "List", outputs: [items], onComplete: EACH}
  - id: EACH
    agent: yukihiro
    input: "Cut {{current_item}}"
    maxRetries: 0
    loop: {over: items, onItemFail: fail}
"""
JUDGED = ONE.replace("maxRetries: 1", "onResult: {BAD: {retry: true, maxRetries: 0}}")


@pytest.mark.parametrize(
    ("name", "strict", "was", "is_now"),
    [
        ("one", JUDGED, "{retry: true, maxRetries: 0}", "{}"),
        ("listed", LISTED, "onItemFail: fail", "onItemFail: continue"),
    ],
)
def test_a_pipeline_that_ends_otherwise_is_found_out(
    start: Callable[..., Run],
    replayed: Callable[..., Run],
    name: str,
    strict: str,
    was: str,
    is_now: str,
) -> None:
    listing = [{"outputs": {"items": '["wood"]'}}]
    plays = {"DO": [{"outputs": {"answer": "BAD"}}], "LIST": listing, "EACH": [{"fail": "no axe"}]}
    lenient = strict.replace(was, is_now)
    pipeline_commands.put(name, strict)
    failed = start(name, **plays)
    pipeline_commands.put(name, lenient)
    completed = start(name, **plays)
    assert (failed.state, completed.state) == (runs.FAILED, runs.COMPLETED)
    assert replayed(failed).error == (
        "The replay differs: the pipeline ends here now, completed; on record it ended here, failed"
        f" ({failed.error})"
    )
    same(replayed(failed, replays.PINNED), failed)
    pipeline_commands.put(name, strict)
    assert replayed(completed).error == (
        f"The replay differs: the pipeline ends here now, failed ({failed.error}); on record it"
        " ended here, completed"
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


def test_a_changed_thinking_level_is_found_out_but_not_the_servers_default(
    database: str, replayed: Callable[..., Run], work: Work
) -> None:
    think(None)
    source = commands.start(ANNA, Pipeline.get_by_id("bugfix"), {"task": "x"})
    step = begun(source.id)
    assert die(step.id, 3, "before")
    GlobalSetting.insert(
        key="defaultWorkingModelThinkingLevel", value="high", updated_at=1
    ).execute()
    expire(step.id)  # who takes it over has the model think more
    work()
    same(replayed(source), source)
    think("low")
    assert replayed(source).error == (
        "The replay differs in step FIX: what the model is asked with differs in thinking_level: on"
        ' record "off", now "low"'
    )
    same(replayed(source, replays.PINNED), source)


def think(level: str | None) -> None:
    """How much yukihiro has models think from now on."""
    config = Agent.get_by_id("yukihiro").config | {"thinking_level": level}
    Agent.update(config=config).where(Agent.id == "yukihiro").execute()


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
