"""One suite over everything that answers as a model, whoever answers and over which protocol."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator

import pytest
from jsonschema import Draft202012Validator

from tests.patience import within
from tests.servers.provider import Answer, Provider
from tests.servers.speaking import Speaker, collected, remote
from workers.halting import DeadlinePassed, Halt, Stopped
from workers.llm import open_model
from workers.llm.base import (
    Delta,
    Message,
    ModelError,
    Options,
    Overflow,
    Refused,
    Shape,
    Text,
    Throttled,
    ToolSpec,
    Unavailable,
)

SHAPE = Shape(
    "verdict",
    {
        "type": "object",
        "additionalProperties": False,
        "required": ["verdict", "notes"],
        "properties": {
            "verdict": {"enum": ["PASS", "FAIL"]},
            "notes": {"type": "array", "items": {"type": "string"}, "minItems": 1},
        },
    },
)
READ = ToolSpec(
    "read",
    "Read a file.",
    {"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]},
)
OVERFLOWS = {
    "openai": {"code": "context_length_exceeded", "message": "maximum context length is 8192"},
    "anthropic": {"type": "invalid_request_error", "message": "prompt is too long: 210000 tokens"},
}
ERRORS = {
    "throttled": Answer(status=429, error={"message": "slow down"}, headers={"Retry-After": "3"}),
    "unavailable": Answer(status=503, error={"type": "server_error", "message": "try later"}),
    "refused": Answer(status=401, error={"type": "authentication_error", "message": "bad key"}),
}


@pytest.fixture
def provider() -> Iterator[Provider]:
    with Provider() as server:
        yield server


@pytest.fixture(params=["openai", "anthropic", "scripted"])
def speaker(request: pytest.FixtureRequest, provider: Provider) -> Speaker:
    if request.param == "scripted":
        return Speaker(open_model("scripted/demo", {}))
    return remote(request.param, provider)


def test_the_deltas_of_a_reply_add_up_to_its_text(speaker: Speaker) -> None:
    deltas, reply = collected(speaker.ask(Answer(text=("Grüß ", "dich 🌍", ", wie geht's?"))))

    assert reply.message.text == "Grüß dich 🌍, wie geht's?"
    assert "".join(delta.text for delta in deltas if delta.kind == "text") == reply.message.text
    assert (reply.stop, reply.message.role, reply.message.calls) == ("end", "assistant", ())


def test_a_reply_says_what_it_used(speaker: Speaker) -> None:
    _, reply = collected(speaker.ask(Answer(text=("four words of text",))))

    assert reply.usage.input > reply.usage.output > 0
    assert reply.model
    assert not reply.usage.approximate


def test_several_calls_arrive_in_one_reply_as_they_were_written(speaker: Speaker) -> None:
    calls = (("read", '{"path": "é.py"}'), ("read", '{ "path":"b" }'))

    deltas, reply = collected(speaker.ask(Answer(calls=calls), [READ]))

    assert [(call.name, call.arguments) for call in reply.message.calls] == list(calls)
    assert len({call.id for call in reply.message.calls}) == 2
    assert reply.stop == "calls"
    assert "".join(delta.text for delta in deltas if delta.kind == "call") == "".join(
        arguments for _, arguments in calls
    )


def test_malformed_arguments_are_handed_on_untouched(speaker: Speaker) -> None:
    _, reply = collected(speaker.ask(Answer(calls=(("read", '{"path": "a'),)), [READ]))

    assert reply.message.calls[0].arguments == '{"path": "a'


@pytest.mark.parametrize("kind", [Throttled, Unavailable, Refused])
def test_failures_have_the_four_names(speaker: Speaker, kind: type[ModelError]) -> None:
    with pytest.raises(kind) as failure:
        collected(speaker.ask(ERRORS[kind.__name__.lower()]))

    assert failure.value.transient == (kind is not Refused)
    assert str(failure.value)


def test_a_conversation_too_long_for_the_window_overflows(speaker: Speaker) -> None:
    error = OVERFLOWS.get(speaker.model.provider, {})

    with pytest.raises(Overflow):
        collected(speaker.ask(Answer(status=400, error=error)))


def test_a_shape_is_answered_with_json_that_fits_it(speaker: Speaker) -> None:
    told = '{"verdict": "PASS", "notes": ["fine"]}'
    as_call = speaker.model.provider == "anthropic"
    answer = Answer(calls=(("submit_verdict", told),)) if as_call else Answer(text=(told,))
    if not speaker.server:
        answer = Answer()

    deltas, reply = collected(_shaped(speaker, answer))

    Draft202012Validator(SHAPE.schema).validate(json.loads(reply.message.text))
    assert (reply.stop, reply.message.calls) == ("end", ())
    assert "".join(delta.text for delta in deltas if delta.kind == "text") == reply.message.text


def _shaped(speaker: Speaker, answer: Answer) -> Iterator[Delta]:
    if speaker.server:
        return speaker.ask(answer, options=Options(shape=SHAPE))
    user = Message("user", (Text("Judge it."),))
    return speaker.model.reply([user], (), Options(shape=SHAPE), Halt())


def test_stopping_interrupts_a_model_that_says_nothing(speaker: Speaker) -> None:
    def ask() -> None:
        halt = Halt()
        threading.Timer(0.2, halt.stop, ["cancelled"]).start()
        with pytest.raises(Stopped, match="cancelled"):
            collected(speaker.ask(Answer(text=("a", "b"), hang=2), halt=halt))

    within(1, ask)


def test_a_deadline_interrupts_a_model_that_says_nothing(speaker: Speaker) -> None:
    def ask() -> None:
        with pytest.raises(DeadlinePassed):
            collected(speaker.ask(Answer(text=("a", "b"), hang=2), halt=Halt(seconds=0.2)))

    within(1, ask)
