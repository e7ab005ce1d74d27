"""Pipelines are read whole: what is wrong is named by key and line, the rest is filled in."""

from __future__ import annotations

from dataclasses import replace
from textwrap import dedent

import pytest

from models.grammar import fingerprint, from_json, parse, to_json
from tests.patience import within

MINIMAL = """
id: tiny
name: Tiny
agents:
  - id: ada
steps:
  - id: ONLY
    agent: ada
    input: Say hello
"""


def pipeline(steps: str, more: str = "") -> str:
    body = dedent(steps).strip("\n").replace("\n", "\n  ")
    head = f"id: p\nname: P\nagents: [{{id: ada}}, {{id: bob, model: groq/fast}}]\n{dedent(more)}"
    return f"{head}\nsteps:\n  {body}\n"


def only_step(lines: str = "", more: str = ""):
    body = dedent(lines).strip("\n").replace("\n", "\n  ")
    parsed = parse(pipeline(f"- id: A\n  agent: ada\n  input: work\n  {body}", more))
    assert parsed.errors == []
    return parsed.definition.steps[0]


def errors(text: str) -> list[str]:
    parsed = parse(text)
    assert parsed.definition is None
    return [str(error) for error in parsed.errors]


def test_the_documented_minimal_pipeline_loads_although_the_original_refused_it_w27():
    definition = parse(MINIMAL).definition
    assert definition.version == "1.0.0"
    assert definition.agents[0].name == "ada"
    step = definition.steps[0]
    assert (step.max_retries, step.timeout, step.max_turns) == (3, None, 999)
    assert (step.max_output_tokens, step.temperature, step.model) == (32_768, 0.7, None)


def test_the_raw_mapping_is_what_the_file_says():
    raw = parse(MINIMAL).raw
    assert raw["steps"] == [{"id": "ONLY", "agent": "ada", "input": "Say hello"}]


def test_a_steps_timeout_counts_and_timeout_seconds_wins_w27():
    assert only_step("timeout: 60").timeout == 60
    assert only_step("timeout: 60\ntimeoutSeconds: 90").timeout == 90
    assert only_step("", "defaults: {timeout: 20}").timeout == 20
    assert only_step("", "defaults: {timeout: 20, timeoutSeconds: 30}").timeout == 30


def test_the_nearest_word_on_model_tools_and_thinking_wins():
    defaults = "defaults: {model: openai/big, tools: [read], thinkingLevel: low}"
    assert only_step("", defaults).model == "openai/big"
    assert only_step("", defaults).tools == ("read",)
    assert only_step("model: xai/own\ntools: [bash]", defaults).model == "xai/own"
    assert only_step("tools: []", defaults).tools == ()
    parsed = parse(pipeline("- {id: A, agent: bob, input: x}", defaults))
    assert parsed.definition.steps[0].model == "groq/fast"
    assert parsed.definition.steps[0].thinking_level == "low"


def test_names_mean_what_the_author_sees_even_where_yaml_thinks_they_are_booleans():
    text = pipeline(
        """
        - {id: YES, agent: ada, input: x, outputs: [result], onResult: {no: {goto: NO}}}
        - {id: NO, agent: ada, input: x}
        """,
        "version: 1.10",
    )
    definition = parse(text).definition
    assert definition.version == "1.10"
    assert definition.steps[0].on_result["no"].goto == "NO"


def test_every_error_names_the_key_and_the_line():
    text = pipeline(
        """
        - id: A
          agent: eve
          input: x
          onComplete: NOWHERE
          maxRetries: 21
          temperature: warm
        - id: A
          agent: ada
          onResult:
            GOOD: {notify: {agent: eve, message: hi}}
        """
    )
    assert errors(text) == [
        "line 7, steps[0].agent: there is no agent `eve` under `agents`",
        "line 9, steps[0].onComplete: there is no step `NOWHERE`",
        "line 10, steps[0].maxRetries: must be between 0 and 20",
        "line 11, steps[0].temperature: must be a number",
        "line 12, steps[1].input: is required",
        "line 12, steps[1].id: step `A` is declared twice",
        "line 15, steps[1].onResult.GOOD.notify.agent: there is no agent `eve` under `agents`",
    ]


def test_an_error_in_yaml_itself_names_its_line():
    assert errors("id: a\nname: [b\nsteps: 1") == [
        "line 3, document: did not find expected ',' or ']'"
    ]


def test_a_key_given_twice_is_an_error_not_a_silent_loss():
    assert "line 3, id: `id` is given twice" in errors("\nid: a\nid: b\nname: c")


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("type: loop", "type: a loop needs a `loop` block that says over what"),
        (
            "onResult: {A: {goto: A, retry: true}}",
            "goto, continueLoop and retry exclude each other",
        ),
        ("onResult: {A: {goto: A}, a : {goto: A}}", "names a result twice (case does not count)"),
        ("outputSchema: {name: s, schema: {type: strin}}", "schema.type: is not valid JSON Schema"),
        ("outputSchema: {name: s}", "steps[0].outputSchema.schema: is required"),
        ("onResult: {A: {continueLoop: true}}", "no loop's onEachComplete leads to step `A`"),
        ("loop: {over: x, onItemFail: skip}", "onItemFail: must be one of fail, continue"),
        ("timeout: 0", "steps[0].timeout: must be between 1 and 86400"),
        ("maxTurns: true", "steps[0].maxTurns: must be a whole number"),
        ("tools: bash", "steps[0].tools: must be a list"),
        ("onFailure: A", "steps[0].onFailure: must be a mapping"),
        (f"model: {'m' * 257}", "steps[0].model: is longer than 256 characters"),
    ],
)
def test_what_cannot_work_is_refused(line, complaint):
    found = errors(pipeline(f"- id: A\n  agent: ada\n  input: x\n  {line}"))
    assert any(complaint in error for error in found), found


def test_a_step_in_the_middle_without_successor_is_refused():
    text = pipeline(
        """
        - {id: A, agent: ada, input: x, onComplete: B}
        - {id: B, agent: ada, input: x, onResult: {BAD: {goto: C}, OK: {retry: true}}}
        - {id: C, agent: ada, input: x, onFailure: {goto: D}}
        - {id: D, agent: ada, input: x}
        """
    )
    found = errors(text)
    assert found == ["line 8, steps[2]: step `C` has no successor and is not the last step"]


def test_what_is_odd_but_legal_is_a_warning_with_a_hint():
    text = pipeline(
        """
        - {id: A, agent: ada, input: x, dependsOn: [B], onComplet: B, onComplete: C}
        - {id: B, agent: ada, input: x, onComplete: C}
        - {id: C, agent: bob, input: x, loop: {over: things, onEachComplete: D}}
        - {id: D, agent: bob, input: x, onComplete: D, outputMethod: tool_use}
        """
    )
    parsed = parse(text, agents=["ada"])
    assert parsed.definition is not None
    assert [str(warning) for warning in parsed.warnings] == [
        "line 3, agents[1].id: agent `bob` is not in the library",
        "line 6, steps[0].dependsOn: unknown key `dependsOn` is ignored",
        "line 6, steps[0].onComplet: unknown key `onComplet` is ignored; "
        "did you mean `onComplete`?",
        "line 7, steps[1].id: nothing leads to step `B`: it only runs on demand",
        "line 8, steps[2].loop.over: no earlier step declares the output `things`",
        "line 8, steps[2].loop.onEachComplete: no step after it says `continueLoop`: "
        "an item ends where its chain ends",
        "line 9, steps[3].outputMethod: has no meaning without `outputSchema`",
    ]


def test_an_alias_bomb_a_deep_nest_and_a_huge_file_are_refused_quickly():
    bomb = "a0: &a0 [x, x]\n" + "".join(
        f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]\n" for i in range(1, 29)
    )

    def read_all() -> None:
        assert "values once aliases are expanded" in errors(bomb)[0]
        assert "nested deeper than 30 levels" in errors("[" * 100_000)[0]
        assert "nested deeper than 30 levels" in errors("a: &a [*a]")[0]
        assert "more than 1048576" in errors("x" * 1_048_577)[0]

    within(5, read_all)


def test_no_tag_makes_an_object_and_no_number_takes_for_ever():
    assert "has no meaning here" in errors("id: !!python/object/apply:os.getcwd []")[0]
    assert "has no meaning here" in errors("id: !secret x")[0]
    parse("id: " + "1:" * 100_000 + "1")


def test_merge_keys_save_repetition():
    text = MINIMAL + "    <<: {outputs: [a], timeout: 5}\n    timeout: 6\n"
    step = parse(text).definition.steps[0]
    assert (step.outputs, step.timeout) == (("a",), 6)


def test_json_keeps_what_a_jsonb_column_would_forget_and_the_fingerprint_is_stable():
    text = pipeline(
        """
        - id: A
          agent: ada
          input: x
          onResult: {ZED: {goto: A}, AND: {goto: A}}
          outputSchema: {name: s, schema: {type: object, properties: {zed: {}, and: {}}}}
        """
    )
    definition = parse(text).definition
    again = from_json(to_json(definition))
    assert again == definition
    assert list(again.steps[0].on_result) == ["ZED", "AND"]
    assert list(again.steps[0].output_schema.schema["properties"]) == ["zed", "and"]
    assert fingerprint(again) == fingerprint(parse(text).definition)
    assert fingerprint(replace(definition, name="Q")) != fingerprint(definition)
