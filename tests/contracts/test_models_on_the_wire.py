"""What every model behind a wire does when the wire, or the provider, misbehaves."""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Iterator
from typing import Any

import pytest

from models.credentials import Credential
from tests.servers.provider import Answer, Provider, data_frame, event_frame
from tests.servers.speaking import Speaker, collected, remote
from workers.halting import Halt, Stopped
from workers.llm import open_model
from workers.llm.base import (
    Denied,
    Message,
    ModelError,
    Options,
    Overflow,
    Refused,
    Result,
    Text,
    Thinking,
    Throttled,
    ToolSpec,
    Unavailable,
)

READ = ToolSpec(
    "read",
    "Read a file.",
    {"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]},
)


@pytest.fixture
def provider() -> Iterator[Provider]:
    with Provider() as server:
        yield server


@pytest.fixture(params=["openai", "anthropic"])
def wired(request: pytest.FixtureRequest, provider: Provider) -> Speaker:
    return remote(request.param, provider)


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


@pytest.mark.parametrize("told", ["many", 1e30, 2**40, -5, None, [1]])
def test_figures_that_no_call_can_have_are_estimated(wired: Speaker, told: Any) -> None:
    _, reply = collected(wired.ask(Answer(raw=frames(wired, told, told))))

    assert reply.message.text == "hi"
    assert reply.usage.approximate
    assert 0 < reply.usage.input < 100


def test_an_estimate_counts_the_tools_that_were_sent_too(wired: Speaker) -> None:
    _, without = collected(wired.ask(Answer(raw=frames(wired, None, None))))
    _, reply = collected(wired.ask(Answer(raw=frames(wired, None, None)), [READ] * 20))

    assert reply.usage.approximate
    assert reply.usage.input - without.usage.input > 20 * 30


def test_a_whole_number_of_tokens_may_be_written_with_a_point(wired: Speaker) -> None:
    _, reply = collected(wired.ask(Answer(raw=frames(wired, 12.0, 7.0))))

    assert (reply.usage.input, reply.usage.output, reply.usage.approximate) == (12, 7, False)


@pytest.mark.parametrize("odd", [[1], "text", 5])
def test_an_answer_of_another_shape_is_unavailable(wired: Speaker, odd: Any) -> None:
    raw = frames(wired, 1, 1).replace(b'"DETAILS"', json.dumps(odd).encode())

    with pytest.raises(Unavailable, match="cannot be read"):
        collected(wired.ask(Answer(raw=raw)))


def frames(wired: Speaker, sent: Any, written: Any) -> bytes:
    """An answer with these figures in it, in the protocol's words."""
    details = None if sent != 1 else "DETAILS"
    if wired.model.provider == "anthropic":
        usage = {"input_tokens": sent, "output_tokens": written, "output_tokens_details": details}
        block: dict[str, Any] = {"type": "text", "text": "hi"}
        events = [
            {"type": "message_start", "message": {"id": "msg_1", "usage": usage}},
            {"type": "content_block_start", "index": 0, "content_block": block},
            {"type": "message_delta", "delta": {"stop_reason": "end_turn"}},
            {"type": "message_stop"},
        ]
        return b"".join(event_frame(event.pop("type"), **event) for event in events)
    choice = {"index": 0, "delta": {"content": "hi"}, "finish_reason": "stop"}
    usage = {"prompt_tokens": sent, "completion_tokens": written}
    usage["completion_tokens_details"] = details
    return data_frame({"id": "c", "choices": [choice], "usage": usage}) + b"data: [DONE]\n\n"


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
    assert wired.server.hung_up.wait(10)


def test_leaving_a_reply_half_read_hangs_up(wired: Speaker) -> None:
    stream = wired.ask(Answer(text=("a", "b"), hang=4))
    next(stream)

    stream.close()  # type: ignore[attr-defined]

    assert wired.server
    assert wired.server.hung_up.wait(10)


@pytest.mark.parametrize("frames", [1, 400], ids=["while it is silent", "while it writes"])
def test_the_provider_notices_who_leaves_with_frames_unread(
    provider: Provider, frames: int
) -> None:
    provider.answers(Answer(text=("a" * 10_000,) * frames, hang=frames))
    body = b'{"model": "m"}'
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: p\r\nContent-Length: %d\r\n\r\n"
    client = socket.create_connection(("127.0.0.1", provider.port))
    client.sendall(head % len(body) + body)
    client.recv(1)

    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()  # with a reset, as a shut connection answers what still comes

    assert provider.hung_up.wait(10)


def test_the_provider_notices_who_leaves_amid_a_request(provider: Provider) -> None:
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: p\r\nContent-Length: 15\r\n\r\n"
    with socket.create_connection(("127.0.0.1", provider.port)) as client:
        client.sendall(head + b'{"model')

    assert provider.hung_up.wait(10)
    assert provider.requests == []


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


def test_a_server_in_trouble_that_says_for_how_long_is_given_the_time(wired: Speaker) -> None:
    error = {"type": "overloaded_error", "message": "busy"}
    with pytest.raises(Throttled, match="503") as failure:
        collected(wired.ask(Answer(status=503, error=error, headers={"Retry-After": "7"})))

    assert failure.value.after == 7


def test_an_empty_account_is_refused_instead_of_waited_for(wired: Speaker) -> None:
    error = {"type": "insufficient_quota", "message": "You exceeded your current quota"}

    with pytest.raises(Denied, match="quota"):
        collected(wired.ask(Answer(status=429, error=error)))


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, Refused),
        (401, Denied),
        (402, Denied),
        (403, Denied),
        (404, Denied),
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
