"""What compatible servers do that OpenAI does not, and what the adapter makes of it."""

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
    Options,
    Reply,
    Result,
    Shape,
    Text,
    Thinking,
    Unavailable,
)

SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}
HELLO = (Message("user", (Text("hello"),)),)


@pytest.fixture
def server() -> Iterator[Provider]:
    with Provider() as provider:
        yield provider


def ask(
    server: Provider,
    name: str = "custom-den/m",
    messages: Sequence[Message] = HELLO,
    options: Options | None = None,
) -> Reply:
    model = open_model(name, {name.partition("/")[0]: Credential("k", server.url)})
    stream = model.reply(messages, (), options or Options(), Halt())
    while True:
        try:
            next(stream)
        except StopIteration as done:
            reply: Reply = done.value
            return reply


def frames(*deltas: dict[str, Any], finish: str = "stop") -> Answer:
    """A stream of these deltas as a compatible server would send it."""
    choices: list[dict[str, Any]] = [{"index": 0, "delta": delta} for delta in deltas]
    choices.append({"index": 0, "delta": {}, "finish_reason": finish})
    chunks = [{"id": "x", "model": "m", "choices": [choice]} for choice in choices]
    return Answer(raw=b"".join(b"data: %s\n\n" % json.dumps(chunk).encode() for chunk in chunks))


def calls(*pieces: dict[str, Any]) -> Answer:
    return frames(*({"tool_calls": [piece]} for piece in pieces))


def told(reply: Reply) -> list[tuple[str, str]]:
    return [(call.name, call.arguments) for call in reply.message.calls]


def function(name: str | None, arguments: Any) -> dict[str, Any]:
    return {"function": {"name": name, "arguments": arguments}}


@pytest.mark.parametrize(
    "pieces",
    [
        # whole calls that all have the number 0
        (
            {"index": 0, "id": "a", **function("read", '{"p": 1}')},
            {"index": 0, "id": "b", **function("ls", "{}")},
        ),
        # neither numbers nor ids
        (function("read", '{"p": 1}'), function("ls", "{}")),
        # id and name again with each piece
        (
            {"index": 0, "id": "a", **function("read", '{"p"')},
            {"index": 0, "id": "a", **function("read", ": 1}")},
            {"index": 1, "id": "b", **function("ls", "{}")},
        ),
        # numbers only
        (
            {"index": 0, **function("read", '{"p"')},
            {"index": 0, **function(None, ": 1}")},
            {"index": 1, **function("ls", "")},
        ),
        # pieces of two calls by turns
        (
            {"index": 0, "id": "a", **function("read", "")},
            {"index": 1, "id": "b", **function("ls", "")},
            {"index": 0, **function(None, '{"p": 1}')},
            {"index": 1, **function(None, "{}")},
        ),
        # arguments as an object
        (
            {"index": 0, "id": "a", **function("read", {"p": 1})},
            {"index": 1, "id": "b", **function("ls", None)},
        ),
    ],
)
def test_calls_are_put_together_however_they_are_numbered(
    server: Provider, pieces: Sequence[dict[str, Any]]
) -> None:
    server.answers(calls(*pieces))

    reply = ask(server)

    assert told(reply) == [("read", '{"p": 1}'), ("ls", "{}")]
    assert reply.stop == "calls"  # although the server said "stop"
    assert len({call.id for call in reply.message.calls}) == 2


def test_a_mark_on_a_call_goes_back_with_it(server: Provider) -> None:
    mark = {"extra_content": {"google": {"thought_signature": "mark"}}}
    server.answers(calls({"index": 0, "id": "a", **function("ls", "{}"), **mark}))
    reply = ask(server)

    ask(server, messages=(*HELLO, reply.message, Message("tool", (Result("a", "x"),))))

    assert server.requests[-1].body["messages"][1]["tool_calls"][0].items() >= mark.items()


def test_reasoning_goes_back_only_to_those_who_want_it(server: Provider) -> None:
    server.answers(frames({"reasoning": "hm"}, {"content": "yes"}))
    reply = ask(server)
    assert reply.message.parts[0] == Thinking("hm")
    history = (*HELLO, reply.message, *HELLO)

    ask(server, "custom-den/m", history)
    ask(server, "deepseek/deepseek-reasoner", history)

    first, second = (request.body["messages"][1] for request in server.requests[-2:])
    assert "reasoning_content" not in first
    assert second["reasoning_content"] == "hm"


def test_a_server_without_json_schema_is_asked_to_submit_instead(server: Provider) -> None:
    complaint = {"type": "invalid_request_error", "message": "response_format is not supported"}
    submitted = Answer(calls=(("submit_plan", '{"a": "b"}'),))
    server.answers(Answer(status=400, error=complaint), submitted)

    reply = ask(server, options=Options(shape=Shape("plan", SCHEMA)))

    first, second = (request.body for request in server.requests)
    assert first["response_format"]["json_schema"]["schema"] == SCHEMA
    assert "response_format" not in second
    assert second["tool_choice"]["function"]["name"] == "submit_plan"
    assert (reply.message.text, reply.message.calls, reply.stop) == ('{"a": "b"}', (), "end")


def test_a_shape_by_tool_use_forces_the_function_at_once(server: Provider) -> None:
    server.answers(Answer(calls=(("submit_plan", '{"a": "b"}'),)))

    reply = ask(server, options=Options(shape=Shape("plan", SCHEMA, method="tool_use")))

    assert reply.message.text == '{"a": "b"}'
    assert len(server.requests) == 1


def test_an_error_inside_a_stream_is_told(server: Provider) -> None:
    error = {"error": {"message": "overloaded", "type": "server_error", "code": 502}}
    server.answers(Answer(raw=b"data: %s\n\n" % json.dumps(error).encode()))

    with pytest.raises(Unavailable, match="overloaded"):
        ask(server)


def test_thinking_is_asked_for_in_each_providers_way(server: Provider) -> None:
    server.answers(Answer(text=("ok",)))
    thinking = Options(thinking_level="high", temperature=0.5)

    ask(server, "openai/gpt-5.2", options=thinking)
    ask(server, "openrouter/z-ai/glm-4.7", options=thinking)
    ask(server, "zai/glm-4.7", options=thinking)
    ask(server, "openai/gpt-4o", options=thinking)

    gpt5, nested, toggled, gpt4 = (request.body for request in server.requests)
    assert (gpt5["reasoning_effort"], "temperature" in gpt5) == ("high", False)
    assert nested["reasoning"] == {"effort": "high"}
    assert toggled["thinking"] == {"type": "enabled"}
    assert ("reasoning_effort" in gpt4, gpt4["temperature"]) == (False, 0.5)


def test_a_conversation_is_mapped_turn_by_turn(server: Provider) -> None:
    server.answers(Answer(text=("ok",)))
    call = Call("c", "ls", "")
    messages = (
        Message("system", (Text("Be brief."),)),
        *HELLO,
        Message("assistant", (Thinking("only a thought"),)),
        Message("assistant", (call,)),
        Message("tool", (Result("c", "a.py"), Text("Go on."))),
    )

    ask(server, messages=messages)

    turns = server.requests[0].body["messages"]
    assert [turn["role"] for turn in turns] == ["system", "user", "assistant", "tool", "user"]
    assert turns[2]["tool_calls"][0]["function"]["arguments"] == "{}"
