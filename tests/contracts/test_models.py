"""One suite over everything that answers as a model, whoever answers and over which protocol."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pytest
from jsonschema import Draft202012Validator

from models.config import Credential
from tests.servers.provider import Answer, Provider
from workers.halting import DeadlinePassed, Halt, Stopped
from workers.llm import open_model
from workers.llm.base import (
    Delta,
    Message,
    Model,
    ModelError,
    Options,
    Overflow,
    Refused,
    Reply,
    Result,
    Shape,
    Text,
    Thinking,
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


@dataclass
class Speaker:
    """A model, and the way to tell it what to say next."""

    model: Model
    server: Provider | None = None

    def ask(
        self,
        answer: Answer,
        tools: Sequence[ToolSpec] = (),
        options: Options | None = None,
        halt: Halt | None = None,
    ) -> Iterator[Delta]:
        if self.server:
            self.server.answers(answer)
        user = "Run run_1 · step DO · visit 1 · retry 0 · execution 1\n\n# Your Task\nSay hello."
        if not self.server:
            user += f"\n```scripted\n{json.dumps({'default': _play(answer)})}\n```\n"
        messages = [Message("system", (Text("Be brief."),)), Message("user", (Text(user),))]
        return self.model.reply(messages, tools, options or Options(), halt or Halt())


def _play(answer: Answer) -> dict[str, object]:
    """The same answer in the words of the scripted model."""
    if answer.calls:
        return {"calls": [{"name": name, "arguments": text} for name, text in answer.calls]}
    if answer.status != 200:
        kinds = {429: "throttled", 503: "unavailable", 400: "overflow"}
        return {"error": kinds.get(answer.status, "refused")}
    if answer.hang is not None:
        return {"chunks": 3, "delay_ms": 20_000}
    return {"text": "".join(answer.text)}


def collected(stream: Iterator[Delta]) -> tuple[list[Delta], Reply]:
    deltas: list[Delta] = []
    while True:
        try:
            deltas.append(next(stream))
        except StopIteration as done:
            return deltas, done.value


@pytest.fixture
def provider() -> Iterator[Provider]:
    with Provider() as server:
        yield server


@pytest.fixture(params=["openai", "anthropic", "scripted"])
def speaker(request: pytest.FixtureRequest, provider: Provider) -> Speaker:
    if request.param == "scripted":
        return Speaker(open_model("scripted/demo", {}))
    return remote(request.param, provider)


@pytest.fixture(params=["openai", "anthropic"])
def wired(request: pytest.FixtureRequest, provider: Provider) -> Speaker:
    return remote(request.param, provider)


def remote(protocol: str, server: Provider) -> Speaker:
    name, path = {"openai": ("gpt-5.2", "/v1"), "anthropic": ("claude-sonnet-4-6", "")}[protocol]
    credentials = {protocol: Credential("key", server.url + path)}
    return Speaker(open_model(f"{protocol}/{name}", credentials), server)


# --- every model -------------------------------------------------------------------------------


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
    halt = Halt()
    threading.Timer(0.2, halt.stop, ["cancelled"]).start()
    began = time.monotonic()

    with pytest.raises(Stopped, match="cancelled"):
        collected(speaker.ask(Answer(text=("a", "b"), hang=2), halt=halt))

    assert time.monotonic() - began < 1


def test_a_deadline_interrupts_a_model_that_says_nothing(speaker: Speaker) -> None:
    began = time.monotonic()

    with pytest.raises(DeadlinePassed):
        collected(speaker.ask(Answer(text=("a", "b"), hang=2), halt=Halt(seconds=0.2)))

    assert time.monotonic() - began < 1


# --- models behind a wire ----------------------------------------------------------------------


def test_nothing_is_lost_when_frames_are_split_inside_characters(wired: Speaker) -> None:
    answer = Answer(text=("Größe: 🌍",), calls=(("read", '{"path": "ünï.py"}'),), split=1)

    _, reply = collected(wired.ask(answer, [READ]))

    assert reply.message.text == "Größe: 🌍"
    assert json.loads(reply.message.calls[0].arguments) == {"path": "ünï.py"}


def test_cached_and_thinking_tokens_are_counted(wired: Speaker) -> None:
    _, reply = collected(wired.ask(Answer(text=("hi",))))

    assert (reply.usage.input, reply.usage.output) == (100, 20)
    assert (reply.usage.cache_read, reply.usage.thinking) == (64, 8)


def test_usage_is_estimated_and_says_so_when_the_server_sends_none(wired: Speaker) -> None:
    _, reply = collected(wired.ask(Answer(text=("a few words",), usage=False)))

    assert reply.usage.approximate
    assert reply.usage.input > 0
    assert reply.usage.output > 0


def test_thinking_streams_apart_from_the_text(wired: Speaker) -> None:
    answer = Answer(thinking=("let me ", "see"), signature="sig", text=("Yes.",))

    deltas, reply = collected(wired.ask(answer, options=Options(thinking_level="high")))

    assert [d.text for d in deltas if d.kind == "thinking"] == ["let me ", "see"]
    assert isinstance(reply.message.parts[0], Thinking)
    assert (reply.message.parts[0].text, reply.message.text) == ("let me see", "Yes.")


def test_an_answer_cut_by_its_limit_says_length(wired: Speaker) -> None:
    _, reply = collected(wired.ask(Answer(text=("and th",), stop="length")))

    assert (reply.stop, reply.message.text) == ("length", "and th")


def test_a_refusal_is_no_answer(wired: Speaker) -> None:
    with pytest.raises(Refused, match="declined"):
        collected(wired.ask(Answer(text=("I can't help with that.",), stop="refusal")))


@pytest.mark.parametrize("cut", [-1, 0, 3])
def test_a_stream_that_breaks_off_is_unavailable(wired: Speaker, cut: int) -> None:
    with pytest.raises(Unavailable):
        collected(wired.ask(Answer(text=("a", "b", "c"), cut=cut)))


def test_a_stream_that_ends_without_a_reason_is_unavailable(wired: Speaker) -> None:
    with pytest.raises(Unavailable, match="cut its answer short"):
        collected(wired.ask(Answer(raw=b": nothing but a comment\n\n")))


@pytest.mark.parametrize("junk", [b"{not json", b"[1, 2]", b'"text"', b"17"])
def test_a_chunk_that_cannot_be_read_is_unavailable(wired: Speaker, junk: bytes) -> None:
    frame = b"event: message_start\ndata: " + junk + b"\n\n"

    with pytest.raises(Unavailable):
        collected(wired.ask(Answer(raw=frame)))


@pytest.mark.parametrize("hang", [-1, 0, 2])
def test_silence_is_unavailable(wired: Speaker, hang: int) -> None:
    with pytest.raises(Unavailable):
        collected(wired.ask(Answer(text=("a", "b"), hang=hang), options=Options(silence=0.3)))


def test_stopping_hangs_up_so_that_the_provider_stops_writing(wired: Speaker) -> None:
    halt = Halt()
    stream = wired.ask(Answer(text=("a", "b"), hang=4), halt=halt)
    next(stream)

    halt.stop("cancelled")
    with pytest.raises(Stopped):
        collected(stream)

    assert wired.server
    assert wired.server.hung_up.wait(2)


def test_leaving_a_reply_half_read_hangs_up(wired: Speaker) -> None:
    stream = wired.ask(Answer(text=("a", "b"), hang=4))
    next(stream)

    stream.close()  # type: ignore[attr-defined]

    assert wired.server
    assert wired.server.hung_up.wait(2)


def test_a_server_that_is_not_there_is_unavailable() -> None:
    with Provider() as gone:
        pass
    for protocol in ("openai", "anthropic"):
        speaker = remote(protocol, gone)
        speaker.server = None
        user = Message("user", (Text("hello"),))
        with pytest.raises(Unavailable, match="connection"):
            collected(speaker.model.reply([user], (), Options(), Halt()))


@pytest.mark.parametrize(
    ("headers", "least", "most"),
    [
        ({"Retry-After": "3"}, 3, 3),
        ({"retry-after-ms": "1500", "Retry-After": "9"}, 1.5, 1.5),
        ({"Retry-After": "Fri, 01 Jan 2100 00:00:00 GMT"}, 1e9, 1e10),
        ({"Retry-After": "Thu, 01 Jan 1970 00:00:00 GMT"}, 0, 0),
    ],
)
def test_throttling_says_how_long(
    wired: Speaker, headers: dict[str, str], least: float, most: float
) -> None:
    with pytest.raises(Throttled) as failure:
        collected(wired.ask(Answer(status=429, error={"message": "slow"}, headers=headers)))

    assert failure.value.after is not None
    assert least <= failure.value.after <= most


def test_throttling_without_a_time_leaves_it_open(wired: Speaker) -> None:
    with pytest.raises(Throttled) as failure:
        collected(wired.ask(Answer(status=429, error={"message": "slow"})))

    assert failure.value.after is None


def test_an_empty_account_is_refused_instead_of_waited_for(wired: Speaker) -> None:
    error = {"type": "insufficient_quota", "message": "You exceeded your current quota"}

    with pytest.raises(Refused, match="quota"):
        collected(wired.ask(Answer(status=429, error=error)))


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (401, Refused),
        (402, Refused),
        (403, Refused),
        (404, Refused),
        (408, Unavailable),
        (413, Overflow),
        (500, Unavailable),
        (502, Unavailable),
        (529, Unavailable),
    ],
)
def test_statuses_have_their_meaning(wired: Speaker, status: int, kind: type[ModelError]) -> None:
    with pytest.raises(kind, match=str(status)):
        collected(wired.ask(Answer(status=status, error={"type": "x", "message": "no"})))

    assert wired.server
    assert len(wired.server.requests) == 1  # the platform retries, not the SDK


def test_a_temperature_that_is_complained_of_is_left_out_from_then_on(provider: Provider) -> None:
    complaint = Answer(
        status=400,
        error={"type": "invalid_request_error", "message": "`temperature` is not supported"},
    )
    credentials = {"groq": Credential("key", provider.url)}
    model = open_model("groq/some-model", credentials)
    user = [Message("user", (Text("hello"),))]

    provider.answers(complaint, Answer(text=("hi",)))
    collected(model.reply(user, (), Options(temperature=0.5), Halt()))
    collected(model.reply(user, (), Options(temperature=0.5), Halt()))

    assert ["temperature" in request.body for request in provider.requests] == [True, False, False]


def test_the_most_tokens_a_model_may_write_is_learned_from_its_complaint(wired: Speaker) -> None:
    assert wired.server
    message = "max_tokens: 32768 > 8192, which is the maximum allowed number of output tokens"
    complaint = Answer(status=400, error={"type": "invalid_request_error", "message": message})
    stream = wired.ask(Answer())
    wired.server.answers(complaint, Answer(text=("hi",)))

    collected(stream)

    body = wired.server.requests[-1].body
    assert body.get("max_tokens", body.get("max_completion_tokens")) == 8192


def test_a_conversation_with_results_goes_back_as_the_protocol_wants_it(wired: Speaker) -> None:
    assert wired.server
    wired.server.answers(
        Answer(thinking=("hm",), signature="sig", redacted="blob", calls=(("read", "{}"),) * 2)
    )
    user = Message("user", (Text("Read both."),))
    _, first = collected(wired.model.reply([user], [READ], Options(), Halt()))
    ids = [call.id for call in first.message.calls]
    results = Message("tool", (Result(ids[0], "one"), Result(ids[1], "gone", is_error=True)))

    collected(wired.model.reply([user, first.message, results], [READ], Options(), Halt()))

    sent = wired.server.requests[-1].body["messages"]
    SEEN[wired.model.provider](sent, ids)


def _seen_by_anthropic(sent: list[dict], ids: list[str]) -> None:
    assert [turn["role"] for turn in sent] == ["user", "assistant", "user"]
    thinking, redacted, *calls = sent[1]["content"]
    assert thinking == {"type": "thinking", "thinking": "hm", "signature": "sig"}
    assert redacted == {"type": "redacted_thinking", "data": "blob"}
    assert [call["id"] for call in calls] == ids
    one, gone = sent[2]["content"]
    assert (one["tool_use_id"], one["content"], one["is_error"]) == (ids[0], "one", False)
    assert (gone["is_error"], gone["cache_control"]) == (True, {"type": "ephemeral"})


def _seen_by_openai(sent: list[dict], ids: list[str]) -> None:
    assert [turn["role"] for turn in sent] == ["user", "assistant", "tool", "tool"]
    assert [call["id"] for call in sent[1]["tool_calls"]] == ids
    assert "reasoning_content" not in sent[1]
    assert [turn["content"] for turn in sent[2:]] == ["one", "Error: gone"]


SEEN = {"anthropic": _seen_by_anthropic, "openai": _seen_by_openai}
