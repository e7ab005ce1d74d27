"""Which failed calls cost nothing for sure: a budget counts all others at their worst."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.servers.provider import Answer, Provider
from tests.servers.speaking import collected, remote
from workers.halting import Halt
from workers.llm.anthropic_messages import AnthropicMessages
from workers.llm.base import Message, ModelError, Options, Text
from workers.llm.endpoint import Endpoint
from workers.llm.openai_chat import OpenAIChat
from workers.local.folder import free_port

wired = pytest.mark.parametrize("protocol", ["openai", "anthropic"])
HELLO = (Message("user", (Text("Hello"),)),)


@pytest.fixture
def server() -> Iterator[Provider]:
    with Provider() as started:
        yield started


def failed(server: Provider, protocol: str, answer: Answer, silence: float = 20) -> ModelError:
    speaker = remote(protocol, server)
    with pytest.raises(ModelError) as raised:
        collected(speaker.ask(answer, options=Options(silence=silence)))
    return raised.value


@wired
@pytest.mark.parametrize("status", [400, 401, 413, 429, 500, 503])
def test_what_is_refused_before_a_word_is_said_costs_nothing(
    server: Provider, protocol: str, status: int
) -> None:
    refusal = Answer(status=status, error={"type": "x", "message": "no"})

    assert failed(server, protocol, refusal).unpaid


@wired
@pytest.mark.parametrize(
    "answer",
    [
        Answer(text=("Well", "..."), cut=2),
        Answer(text=("Well",), cut=0),
        Answer(text=("Well",), stop="refusal"),
    ],
)
def test_what_breaks_off_may_have_to_be_paid(
    server: Provider, protocol: str, answer: Answer
) -> None:
    assert not failed(server, protocol, answer).unpaid


@wired
def test_who_thinks_in_silence_may_have_to_be_paid(server: Provider, protocol: str) -> None:
    assert not failed(server, protocol, Answer(text=("Well",), hang=0), silence=0.3).unpaid


@pytest.mark.parametrize("adapter", [OpenAIChat, AnthropicMessages])
def test_a_provider_that_is_not_there_costs_nothing(
    adapter: type[OpenAIChat] | type[AnthropicMessages],
) -> None:
    nowhere = Endpoint("openai", "gpt-4o", f"http://127.0.0.1:{free_port()}/v1", api_key="k")

    with pytest.raises(ModelError) as raised:
        collected(adapter(nowhere).reply(HELLO, (), Options(), Halt()))

    assert raised.value.unpaid
