"""Agents on the models of real wire protocols, from the request for a run to what came of it."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.processes.agents_at_work import (
    CLAUDE,
    CUSTOM,
    OPENAI,
    PROTOCOLS,
    Team,
    call,
    finish,
    team,
    trouble,
)
from tests.servers.provider import Answer

SHAPED = """
id: shaped
name: shaped
agents: [{{id: eric, name: Eric}}]
steps:
  - id: PLAN
    agent: eric
    input: "Plan it"
    outputs: [tasks_json]
    outputMethod: {method}
    outputSchema:
      name: tasks
      schema:
        type: object
        properties: {{tasks: {{type: array, items: {{type: string}}}}}}
        required: [tasks]
        additionalProperties: false
"""
TASKS = '{"tasks": ["red", "green"]}'

wired = pytest.mark.parametrize("model", PROTOCOLS)


@pytest.fixture(scope="module")
def crew(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    with team(tmp_path_factory.mktemp("providers")) as started:
        yield started


@pytest.mark.parametrize("model", [*PROTOCOLS, CUSTOM])
def test_an_agent_thinks_calls_several_tools_at_once_and_hands_over(crew: Team, model: str) -> None:
    both = (
        call("write", path="src/a.py", content="A = 1\n"),
        call("write", path="docs/b.md", content="Größe: 🌍\n"),
        call("bash", command="cat src/a.py docs/b.md"),
    )
    working = Answer(thinking=("I think ", "hard."), signature="sig", text=("On it.",), calls=both)
    run = crew.run(model, working, finish(), thinkingLevel="high")

    assert run["status"] == "completed", run["error"]
    assert run["outputs"]["answer"] == "42"
    assert (crew.tree(run) / "docs" / "b.md").read_text() == "Größe: 🌍\n"
    ends = crew.told(run, "tool_call_end")
    assert [event["toolName"] for event in ends] == ["write", "write", "bash", "complete"]
    assert ends[2]["result"] == "A = 1\nGröße: 🌍"
    calls = crew.calls(run)
    assert [row["tool_call_count"] for row in calls] == [3, 1]
    assert calls[0]["has_thinking"]
    answered = crew.provider.requests[1].body["messages"]
    assert json.dumps(answered).count("A = 1") >= 1


@pytest.mark.parametrize(
    ("model", "cost"),
    [
        # 36 new and 64 cached tokens in, 20 out, at $1.75, $0.175 and $14 a million
        (OPENAI, (36 * 1.75 + 64 * 0.175 + 20 * 14) / 1e6),
        # 30 new, 6 written to the cache, 64 from it, 20 out, at $3, $3.75, $0.30 and $15
        (CLAUDE, (30 * 3 + 6 * 3.75 + 64 * 0.3 + 20 * 15) / 1e6),
    ],
)
def test_tokens_cached_tokens_and_the_exact_cost_are_written_down(
    crew: Team, model: str, cost: float
) -> None:
    (row,) = crew.calls(crew.run(model, finish()))

    assert (row["input_tokens"], row["output_tokens"], row["cache_read_tokens"]) == (100, 20, 64)
    assert row["cost_total"] == pytest.approx(cost, abs=1e-9)
    assert row["cost_approximate"] is False


def test_a_model_nobody_knows_a_price_of_costs_null_and_says_so(crew: Team) -> None:
    (row,) = crew.calls(crew.run(CUSTOM, finish()))

    assert (row["cost_total"], row["cost_approximate"]) == (None, True)
    assert (row["provider"], row["model"]) == ("custom-x", "some-model")


@wired
def test_an_answer_that_hit_its_limit_goes_on(crew: Team, model: str) -> None:
    run = crew.run(model, Answer(text=("I was about to",), stop="length"), finish())

    assert run["status"] == "completed"
    assert [row["stop_reason"] for row in crew.calls(run)] == ["length", "calls"]
    assert "cut off" in json.dumps(crew.provider.requests[1].body["messages"])


@wired
def test_arguments_that_are_no_json_are_told_to_the_model(crew: Team, model: str) -> None:
    garbled = Answer(calls=(("write", '{"path": "x", "content": '),))
    run = crew.run(model, garbled, finish())

    assert run["status"] == "completed"
    (event, _) = crew.told(run, "tool_call_end")
    assert event["isError"]
    assert "not valid JSON" in event["result"]
    assert "not valid JSON" in json.dumps(crew.provider.requests[1].body["messages"])


@wired
def test_a_call_that_was_cut_off_did_not_run_and_is_made_again(crew: Team, model: str) -> None:
    half = Answer(calls=(call("ls"), ("write", '{"path": "x", "content": "lo')), stop="length")
    run = crew.run(model, half, finish())

    assert run["status"] == "completed"
    ends = crew.told(run, "tool_call_end")
    assert [event["isError"] for event in ends] == [False, True, False]
    assert "cut off at the output limit" in ends[1]["result"]
    assert not (crew.tree(run) / "x").exists()


@wired
@pytest.mark.parametrize("method", ["response_format", "tool_use"])
def test_a_structured_step_answers_in_its_schema(crew: Team, model: str, method: str) -> None:
    pipeline = crew.put(SHAPED.format(method=method))
    by_tool = model == CLAUDE or method == "tool_use"
    answer = Answer(calls=(("submit_tasks", TASKS),)) if by_tool else Answer(text=(TASKS,))
    run = crew.run(model, answer, pipeline=pipeline)

    assert run["status"] == "completed", run["error"]
    assert json.loads(run["outputs"]["tasks_json"]) == json.loads(TASKS)


def test_a_server_without_json_schema_is_asked_by_a_forced_function(crew: Team) -> None:
    pipeline = crew.put(SHAPED.format(method="response_format"))
    grumbling = trouble(400, "response_format json_schema is not supported")
    answer = Answer(calls=(("submit_tasks", TASKS),))
    run = crew.run(CUSTOM, grumbling, answer, pipeline=pipeline)

    assert run["status"] == "completed", run["error"]
    assert crew.steps(run) == 1
    assert crew.provider.requests[1].body["tool_choice"]["function"]["name"] == "submit_tasks"


@wired
def test_what_does_not_fit_the_schema_is_answered_again(crew: Team, model: str) -> None:
    pipeline = crew.put(SHAPED.format(method="tool_use"))
    wrong, right = (Answer(calls=(("submit_tasks", text),)) for text in ('{"tasks": 7}', TASKS))
    run = crew.run(model, wrong, right, pipeline=pipeline)

    assert run["status"] == "completed", run["error"]
    assert "7 is not of type 'array'" in json.dumps(crew.provider.requests[1].body)


@wired
def test_a_conversation_that_outgrows_the_window_is_shortened_and_says_so(
    crew: Team, model: str
) -> None:
    long = call("bash", command="seq 1 6000")
    too_long = trouble(400, "prompt is too long: 250000 tokens", "invalid_request_error")
    run = crew.run(model, Answer(calls=(long, long, long)), too_long, finish())

    assert run["status"] == "completed", run["error"]
    (event,) = crew.told(run, "context_compacted")
    assert event["after"] < event["before"]


def test_turns_tools_temperature_and_thinking_are_as_the_pipeline_says(crew: Team) -> None:
    looking = Answer(calls=(call("ls"),))
    run = crew.run(
        CLAUDE,
        *(looking, looking, looking),
        maxTurns=2,
        maxRetries=0,
        tools=["ls"],
        thinkingLevel="low",
        maxOutputTokens=5000,
    )

    assert run["status"] == "failed"
    assert "all 2 turns are used up" in run["error"]
    first = crew.provider.requests[0].body
    assert {tool["name"] for tool in first["tools"]} == {"ls", "complete", "fail"}
    assert first["output_config"] == {"effort": "low"}
    assert first["max_tokens"] == 5000
    assert len(crew.provider.requests) == 2


def test_an_agents_own_model_and_thinking_serve_where_the_pipeline_names_none(crew: Team) -> None:
    config = crew.product.client.get("/v1/agents/yukihiro/config").json()
    changed = {**config, "model": CLAUDE, "thinkingLevel": "low"}
    crew.product.client.put("/v1/agents/yukihiro/config", json=changed).raise_for_status()
    try:
        run = crew.run(None, finish())  # type: ignore[arg-type]
    finally:
        crew.product.client.put("/v1/agents/yukihiro/config", json=config).raise_for_status()

    assert run["status"] == "completed", run["error"]
    (request,) = crew.provider.requests
    assert request.body["model"] == "claude-sonnet-4-6"
    assert request.body["output_config"] == {"effort": "low"}
