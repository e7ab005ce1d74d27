"""Keys of providers: named by their variable when they do not serve, never shown."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from models.credentials import Credential
from tests.servers.provider import Answer, Provider
from tests.servers.speaking import collected
from workers.halting import Halt
from workers.llm import open_model
from workers.llm.base import Denied, Message, ModelError, Options, Text


@pytest.fixture
def provider() -> Iterator[Provider]:
    with Provider() as server:
        yield server


def test_a_key_that_is_not_accepted_is_named_by_its_variable_and_never_shown(
    provider: Provider,
) -> None:
    error = {"type": "authentication_error", "message": "no such key: sk-canary"}
    provider.answers(Answer(status=401, error=error))
    for name in ("openai/gpt-5.2", "anthropic/claude-sonnet-4-6", "custom-den/m"):
        credential = Credential("sk-canary", provider.url)
        model = open_model(name, {name.partition("/")[0]: credential})
        with pytest.raises(Denied, match=r"no such key: \[key\]\n.* check \w+_API_KEY") as failure:
            collected(model.reply([Message("user", (Text("hello"),))], (), Options(), Halt()))
        assert failure.value.final


def test_a_key_that_no_header_can_carry_is_not_shown_either(provider: Provider) -> None:
    provider.answers(Answer(text=("hi",)))
    for name in ("openai/gpt-5.2", "anthropic/claude-sonnet-4-6"):
        credential = Credential("sk-canary\n", provider.url)
        model = open_model(name, {name.partition("/")[0]: credential})
        with pytest.raises(ModelError) as failure:
            collected(model.reply([Message("user", (Text("hello"),))], (), Options(), Halt()))
        assert "canary" not in str(failure.value)


@pytest.mark.parametrize("name", ["custom-den/m", "ollama/qwen3"])
def test_an_address_that_gives_credentials_away_is_never_asked(name: str) -> None:
    where = Credential("sk-canary", "http://169.254.169.254/v1", guarded=True)
    model = open_model(name, {name.partition("/")[0]: where})
    with pytest.raises(Denied, match="may not be asked"):
        collected(model.reply([Message("user", (Text("hello"),))], (), Options(), Halt()))


def test_an_address_that_an_admin_has_set_may_be_in_their_own_network(provider: Provider) -> None:
    provider.answers(Answer(text=("hi",)))
    model = open_model("custom-den/m", {"custom-den": Credential("k", provider.url, guarded=True)})
    collected(model.reply([Message("user", (Text("hello"),))], (), Options(), Halt()))
    assert len(provider.requests) == 1
