"""What the messages protocol asks for beyond the shared contract."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from models.credentials import Credential
from tests.servers.provider import Answer, Provider
from workers.halting import Halt
from workers.llm import open_model
from workers.llm.base import (
    Call,
    Message,
    ModelError,
    Options,
    Overflow,
    Refused,
    Reply,
    Result,
    Shape,
    Text,
    Throttled,
    ToolSpec,
    Unavailable,
)

HELLO = (Message("system", (Text("Be brief."),)), Message("user", (Text("hello"),)))
READ = ToolSpec("read", "Read a file.", {"type": "object", "properties": {}})
PLAN = Shape("plan", {"type": "object", "properties": {"a": {"type": "string"}}})


@pytest.fixture
def server() -> Iterator[Provider]:
    with Provider() as provider:
        provider.answers(Answer(text=("ok",)))
        yield provider


def ask(
    server: Provider,
    model: str = "claude-sonnet-4-6",
    messages: Sequence[Message] = HELLO,
    options: Options | None = None,
) -> Reply:
    opened = open_model(f"anthropic/{model}", {"anthropic": Credential("k", server.url)})
    stream = opened.reply(messages, [READ], options or Options(), Halt())
    while True:
        try:
            next(stream)
        except StopIteration as done:
            reply: Reply = done.value
            return reply


def test_the_prompt_is_marked_for_caching_at_its_end_and_after_the_system_prompt(
    server: Provider,
) -> None:
    ask(server)

    body = server.requests[0].body
    mark = {"type": "ephemeral"}
    assert body["system"] == [{"type": "text", "text": "Be brief.", "cache_control": mark}]
    assert body["messages"][-1]["content"][-1]["cache_control"] == mark


def test_older_models_think_within_a_budget_and_newer_ones_as_they_see_fit(
    server: Provider,
) -> None:
    thinking = Options(thinking_level="medium", temperature=0.5, max_output_tokens=10_000)

    ask(server, "claude-haiku-4-5", options=thinking)
    ask(server, "claude-opus-4-6", options=thinking)

    older, newer = (request.body for request in server.requests)
    assert older["thinking"] == {"type": "enabled", "budget_tokens": 5000}
    assert newer["thinking"] == {"type": "adaptive"}
    assert newer["output_config"] == {"effort": "medium"}
    assert "temperature" not in older | newer


def test_only_compatible_servers_are_told_a_temperature(server: Provider) -> None:
    warm = Options(temperature=1.5)
    minimax = open_model("minimax/MiniMax-M2", {"minimax": Credential("k", server.url)})

    ask(server, "claude-sonnet-4-6", options=warm)
    list(minimax.reply(HELLO, (), warm, Halt()))

    assert "temperature" not in server.requests[0].body
    assert server.requests[1].body["temperature"] == 1.0


def test_a_model_that_refuses_a_forced_tool_is_asked_for_a_format(server: Provider) -> None:
    error = {"type": "invalid_request_error", "message": "tool_choice may not force a tool"}
    server.answers(Answer(status=400, error=error), Answer(text=('{"a": "b"}',)))

    reply = ask(server, options=Options(shape=PLAN))

    first, second = (request.body for request in server.requests)
    assert first["tool_choice"] == {"type": "tool", "name": "submit_plan"}
    assert second["output_config"]["format"] == {"type": "json_schema", "schema": PLAN.schema}
    assert "tool_choice" not in second
    assert reply.message.text == '{"a": "b"}'


@pytest.mark.parametrize(
    "written",
    ['{"path": ', r'{"path": "\ud83d"}', '{"n": NaN}', '{"n": ' + "[" * 2000 + "]" * 2000 + "}"],
)
def test_arguments_the_model_garbled_go_back_to_it_as_it_wrote_them(
    server: Provider, written: str
) -> None:
    garbled = Message("assistant", (Call("c", "read", written),))
    answered = Message("tool", (Text("Try again."), Result("c", "not JSON", is_error=True)))

    ask(server, messages=(*HELLO, garbled, answered))

    _, assistant, user = server.requests[0].body["messages"]
    assert assistant["content"][0]["input"] == {"unreadable": written}
    assert [block["type"] for block in user["content"]] == ["tool_result", "text"]


def test_turns_of_the_same_side_are_joined_and_empty_ones_left_out(server: Provider) -> None:
    messages = (*HELLO, Message("assistant", (Text(" "),)), Message("user", (Text("again"),)))

    ask(server, messages=messages)

    (turn,) = server.requests[0].body["messages"]
    assert [block["text"] for block in turn["content"]] == ["hello", "again"]


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ({"type": "overloaded_error", "message": "Overloaded"}, Unavailable),
        ({"type": "rate_limit_error", "message": "slow down"}, Throttled),
        ({"type": "invalid_request_error", "message": "no"}, Refused),
        ({"type": "invalid_request_error", "message": "prompt is too long"}, Overflow),
    ],
)
def test_an_error_inside_a_stream_has_its_meaning(
    server: Provider, error: dict[str, str], kind: type[ModelError]
) -> None:
    server.answers(Answer(raw=event("error", error=error)))

    with pytest.raises(kind):
        ask(server)


def test_reaching_the_end_of_the_window_is_an_overflow(server: Provider) -> None:
    stopped = {"stop_reason": "model_context_window_exceeded"}
    server.answers(Answer(raw=event("message_delta", delta=stopped, usage={"output_tokens": 1})))

    with pytest.raises(Overflow):
        ask(server)


def event(name: str, **value: Any) -> bytes:
    return f"event: {name}\ndata: {json.dumps({'type': name, **value})}\n\n".encode()
