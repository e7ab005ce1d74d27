"""What holds for every pipeline text, sane or not."""

from __future__ import annotations

from dataclasses import replace

import yaml
from hypothesis import given
from hypothesis import strategies as st

from models.definitions import Definition, StepSpec
from models.grammar import fingerprint, from_json, parse, to_json
from tests.properties.pipelines import definitions

KEYS = (
    *("id", "name", "version", "description", "defaults", "agents", "steps", "agent", "input"),
    *("outputs", "onComplete", "onResult", "goto", "retry", "continueLoop", "notify", "message"),
    *("loop", "over", "onEachComplete", "onAllComplete", "onItemFail", "outputSchema", "schema"),
    *("type", "maxRetries", "timeout", "temperature", "tools", "onFailure", "strict", "pattern"),
)
scalars = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.sampled_from(KEYS)
)
anything = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=4), inner, max_size=6),
    ),
    max_leaves=25,
)


@given(st.text() | st.binary().map(lambda raw: raw.decode("latin-1")))
def test_no_text_at_all_makes_the_parser_raise(text):
    check(text)


@given(st.dictionaries(st.sampled_from(KEYS), anything, max_size=7))
def test_no_mapping_at_all_makes_the_parser_raise(mapping):
    check(yaml.safe_dump(mapping))


@given(definitions(), st.data())
def test_a_valid_pipeline_with_a_piece_cut_or_doubled_is_read_without_raising(definition, data):
    text = written(definition)
    at = data.draw(st.integers(0, len(text)))
    length = data.draw(st.integers(0, 40))
    check(text[:at] + text[at + length :])
    check(text[: at + length] + text[at:])


def check(text: str) -> None:
    parsed = parse(text, agents=())
    assert (parsed.definition is None) == bool(parsed.errors)
    assert all(problem.path and problem.message for problem in parsed.errors + parsed.warnings)


@given(definitions())
def test_a_pipeline_written_as_yaml_is_read_as_the_same_definition(definition):
    parsed = parse(written(definition))
    assert [str(error) for error in parsed.errors] == []
    assert parsed.definition == definition


@given(definitions())
def test_json_round_trips_and_the_fingerprint_with_it(definition):
    again = from_json(to_json(definition))
    assert again == definition
    assert [list(step.on_result) for step in again.steps] == [
        list(step.on_result) for step in definition.steps
    ]
    assert fingerprint(again) == fingerprint(definition)


@given(definitions(), st.data())
def test_a_change_anywhere_changes_the_fingerprint(definition, data):
    step = data.draw(st.sampled_from(definition.steps))
    changed = replace(step, max_turns=step.max_turns + 1)
    steps = tuple(changed if each is step else each for each in definition.steps)
    assert fingerprint(replace(definition, steps=steps)) != fingerprint(definition)


def written(definition: Definition) -> str:
    """The YAML an author would have written for it, every value spelt out."""
    return yaml.safe_dump(
        {
            "id": definition.id,
            "name": definition.name,
            "version": definition.version,
            "description": definition.description,
            "agents": [
                {"id": agent.id, "name": agent.name, "persona": agent.persona}
                for agent in definition.agents
            ],
            "steps": [written_step(step) for step in definition.steps],
        },
        sort_keys=False,
    )


def written_step(step: StepSpec) -> dict:
    schema = step.output_schema
    values = {
        "id": step.id,
        "agent": step.agent,
        "input": step.input,
        "description": step.description,
        "outputs": list(step.outputs),
        "onComplete": step.on_complete,
        "onResult": {value: written_action(each) for value, each in step.on_result.items()},
        "onFailure": step.on_failure and {"goto": step.on_failure},
        "model": step.model,
        "tools": None if step.tools is None else list(step.tools),
        "maxRetries": step.max_retries,
        "timeoutSeconds": step.timeout,
        "maxTurns": step.max_turns,
        "maxOutputTokens": step.max_output_tokens,
        "temperature": step.temperature,
        "thinkingLevel": step.thinking_level,
    }
    if step.loop:
        values["loop"] = {
            "over": step.loop.over,
            "onEachComplete": step.loop.on_each_complete,
            "onAllComplete": step.loop.on_all_complete,
            "onItemFail": step.loop.on_item_fail,
        }
    if schema:
        body = {"name": schema.name, "strict": schema.strict, "schema": schema.schema}
        values |= {"outputSchema": body, "outputMethod": schema.method}
    return values


def written_action(action) -> dict:
    notify = action.notify
    return {
        "goto": action.goto,
        "continueLoop": action.continue_loop,
        "retry": action.retry,
        "maxRetries": action.max_retries,
        "notify": notify and {"agent": notify.agent, "message": notify.message},
    }
