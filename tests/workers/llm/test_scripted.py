"""The scripted model: what it reads, what it hands over, and how a test tells it otherwise."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from workers.halting import Halt
from workers.llm import open_model
from workers.llm.base import (
    Call,
    Delta,
    Message,
    Model,
    Options,
    Overflow,
    Refused,
    Reply,
    Result,
    Text,
    ToolSpec,
)

FINISHING = """# IDENTITY
You are Finn.

# FINISHING
Call complete.
Outputs to hand over:
- design_summary
- task_breakdown_json: a JSON array; step IMPLEMENT works through its items
- review_result: exactly one of APPROVED | CHANGES_REQUESTED
"""


def text(name: str) -> dict[str, str]:
    return {"type": "string", "description": name}


def spec(name: str, *required: str) -> ToolSpec:
    properties = {key: text(key) for key in required}
    schema = {"type": "object", "properties": properties, "required": list(required)}
    return ToolSpec(name, name, schema)


TOOLS = (
    spec("ls", "path"),
    spec("find", "pattern"),
    spec("write", "path", "content"),
    spec("read", "path"),
    spec("grep", "pattern", "path"),
    spec("bash", "command"),
    spec("edit", "path", "old_text", "new_text"),
    spec("remember", "title", "content"),
    spec("complete", "outputs"),
    spec("fail", "error"),
)


def opening(
    task: str = "Build a REST API for a todo app", step: str = "DESIGN", execution: int = 1
) -> list[Message]:
    first = f"Run run_1 · step {step} · visit {execution} · retry 0 · execution {execution}"
    user = f"{first}\n\n# Your Task\nDo this:\n\n{task}\n"
    return [Message("system", (Text(FINISHING),)), Message("user", (Text(user),))]


def directed(script: object, step: str = "DESIGN", execution: int = 1) -> list[Message]:
    return opening(f"Say hello\n```scripted\n{json.dumps(script)}\n```\n", step, execution)


def say(
    messages: Sequence[Message],
    tools: Sequence[ToolSpec] = TOOLS,
    options: Options | None = None,
    model: Model | None = None,
) -> tuple[list[Delta], Reply]:
    model = model or open_model("scripted/demo", {})
    stream = model.reply(messages, tools, options or Options(), Halt())
    deltas: list[Delta] = []
    while True:
        try:
            deltas.append(next(stream))
        except StopIteration as done:
            return deltas, done.value


def played(messages: list[Message], answer: str = "ok", is_error: bool = False) -> list[Call]:
    """Every call up to the one that ends the step; every other is answered with `answer`."""
    calls: list[Call] = []
    for _ in range(12):
        _, reply = say(messages)
        calls += reply.message.calls
        if not reply.message.calls or calls[-1].name in {"complete", "fail"}:
            return calls
        results = tuple(Result(call.id, answer, is_error) for call in reply.message.calls)
        messages = [*messages, reply.message, Message("tool", results)]
    raise AssertionError("the step did not end")


def outputs_of(calls: Sequence[Call]) -> dict[str, str]:
    assert calls[-1].name == "complete"
    outputs: dict[str, str] = json.loads(calls[-1].arguments)["outputs"]
    return outputs


def test_it_drives_every_tool_and_hands_over_what_is_declared() -> None:
    calls = played(opening())

    assert {call.name for call in calls} == {tool.name for tool in TOOLS} - {"fail"}
    for call in calls:
        schema = next(tool.parameters for tool in TOOLS if tool.name == call.name)
        if call.name != "complete":
            Draft202012Validator(schema).validate(json.loads(call.arguments))
    outputs = outputs_of(calls)
    assert outputs["review_result"] == "APPROVED"
    assert "REST API" in outputs["design_summary"]
    titles = [item["title"] for item in json.loads(outputs["task_breakdown_json"])]
    assert len(set(titles)) == len(titles) >= 2


def test_it_is_the_same_every_time() -> None:
    assert played(opening()) == played(opening())
    assert say(opening()) == say(opening())


def test_tools_that_fail_do_not_stop_it() -> None:
    calls = played(opening(), answer="no such file", is_error=True)

    assert set(outputs_of(calls)) == {"design_summary", "task_breakdown_json", "review_result"}


def test_its_edit_fits_what_it_wrote() -> None:
    for step in ("DESIGN", "IMPLEMENT", "TEST", "REVIEW", "DEPLOY"):
        calls = played(opening(step=step))
        written = {
            told["path"]: told["content"]
            for told in (json.loads(call.arguments) for call in calls if call.name == "write")
        }
        edit = next(json.loads(call.arguments) for call in calls if call.name == "edit")
        assert written[edit["path"]].count(edit["old_text"]) == 1
        assert edit["new_text"] != edit["old_text"]


def test_the_code_it_writes_runs(tmp_path: Path) -> None:
    for call in played(opening(step="IMPLEMENT", task='Say "hello" \\ to everyone')):
        if call.name == "write":
            told = json.loads(call.arguments)
            assert re.fullmatch(r"(src|tests)/\w+\.py", told["path"])
            compile(told["content"], told["path"], "exec")


def test_each_item_of_a_loop_gets_its_own_file() -> None:
    paths = set()
    for title in ("Store todos", "List todos"):
        system, user = opening(step="IMPLEMENT")
        loop = f"\n# Loop Context\nItem 1 of 2: {json.dumps({'title': title})}\n"
        calls = played([system, Message("user", (Text(user.text + loop),))])
        paths.add(next(json.loads(c.arguments)["path"] for c in calls if c.name == "write"))

    assert paths == {"src/store_todos.py", "src/list_todos.py"}


def test_without_tools_it_answers_in_lines() -> None:
    _, reply = say(opening(), tools=())

    assert "review_result: APPROVED" in reply.message.text.splitlines()
    assert reply.stop == "end"


def test_outputs_it_did_not_know_of_are_added_when_asked_for() -> None:
    call = Call("c", "complete", "{}")
    refused = Result("c", "missing required outputs: release_notes", is_error=True)
    messages = [*opening(), Message("assistant", (call,)), Message("tool", (refused,))]

    calls = played(messages)

    assert outputs_of(calls)["release_notes"]


def test_a_play_can_set_and_withhold_outputs() -> None:
    told = {"default": {"outputs": {"review_result": "CHANGES_REQUESTED", "extra": {"a": 1}}}}

    outputs = outputs_of(played(directed(told)))

    assert (outputs["review_result"], outputs["extra"]) == ("CHANGES_REQUESTED", '{"a": 1}')
    withheld = {"default": {"outputs": {"design_summary": None}}}
    assert "design_summary" not in outputs_of(played(directed(withheld)))


def test_each_execution_has_its_play_and_the_last_repeats() -> None:
    plays = [{"outputs": {"review_result": "CHANGES_REQUESTED"}}, {"fail": "broken"}]
    script = {"steps": {"DESIGN": plays}}

    first = played(directed(script, execution=1))
    second, third = (played(directed(script, execution=number)) for number in (2, 3))
    other = played(directed(script, step="SPEC"))

    assert outputs_of(first)["review_result"] == "CHANGES_REQUESTED"
    assert [call.name for call in second] == ["fail"] == [call.name for call in third]
    assert json.loads(second[0].arguments)["error"] == "broken"
    assert outputs_of(other)["review_result"] == "APPROVED"


def test_a_play_can_replace_or_skip_the_tour() -> None:
    told = {"calls": [{"name": "bash", "arguments": {"command": "true"}}]}
    assert [c.name for c in played(directed({"default": told}))] == ["bash", "complete"]
    assert [c.name for c in played(directed({"default": {"tools": False}}))] == ["complete"]


def test_a_play_can_stream_many_chunks() -> None:
    told = {"chunks": 50, "chunk": "tick ", "tools": False}

    deltas, reply = say(directed({"default": told}))

    assert [delta.text for delta in deltas if delta.kind == "text"] == ["tick "] * 50
    assert reply.message.calls[0].name == "complete"


def test_an_error_is_raised_once_per_execution() -> None:
    model = open_model("scripted/demo", {})
    messages = directed({"default": {"error": "overflow"}})

    with pytest.raises(Overflow):
        say(messages, model=model)

    assert say(messages, model=model)[1].message.calls


@pytest.mark.parametrize(
    "block", ["{oops", "[]", '{"steps": 3}', '{"default": {"outptus": {}}}', '{"default": [3]}']
)
def test_a_block_that_cannot_be_understood_is_refused(block: str) -> None:
    with pytest.raises(Refused, match="scripted block"):
        say(opening(f"Hello\n```scripted\n{block}\n```\n"))


def test_a_block_that_was_cut_short_elsewhere_in_the_prompt_does_no_harm() -> None:
    script = json.dumps({"default": {"text": "as told"}})
    task = f"x\n```scripted\n{script[:12]}\n```\n\n```scripted\n{script}\n```\n"

    assert say(opening(task))[1].message.text == "as told"


def test_outside_a_step_it_answers_what_was_said() -> None:
    _, reply = say([Message("user", (Text("Good morning"),))])

    assert "Good morning" in reply.message.text
    assert reply.message.calls == ()
