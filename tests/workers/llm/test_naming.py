"""Reaching a model by its name: every provider of the catalogue, and what is said when it fails."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from models.catalogue import PROVIDERS, reasons
from models.credentials import Credential
from tests.servers.provider import Answer, Provider
from workers.halting import Halt
from workers.llm import open_model
from workers.llm.base import Denied, Message, Options, Text
from workers.llm.catalogue import MANNERS

TALKING = [name for name, provider in PROVIDERS.items() if provider.talks]


@pytest.fixture
def server() -> Iterator[Provider]:
    with Provider() as provider:
        provider.answers(Answer(text=("hi",)))
        yield provider


def speak(name: str, credential: Credential) -> None:
    model = open_model(name, {name.partition("/")[0]: credential})
    list(model.reply([Message("user", (Text("hello"),))], (), Options(), Halt()))


def test_the_catalogue_holds_every_provider_that_has_a_key_variable() -> None:
    variables = [provider.key_variable for provider in PROVIDERS.values()]
    assert len(set(variables)) == len(variables)
    assert set(MANNERS) <= set(TALKING)


@pytest.mark.parametrize("provider_id", [*TALKING, "custom-den"])
def test_every_provider_is_reached_over_its_protocol(provider_id: str, server: Provider) -> None:
    speak(f"{provider_id}/some/model", Credential("the-key", server.url))

    received = server.requests[0]
    assert received.body["model"] == "some/model"
    assert received.headers["authorization"] == "Bearer the-key"
    claude = provider_id in {"anthropic", "minimax", "minimax-cn", "kimi-coding"}
    assert received.path.endswith("/messages" if claude else "/chat/completions")


def test_openrouter_is_told_who_asks(server: Provider) -> None:
    speak("openrouter/anthropic/claude-sonnet-4", Credential("k", server.url))

    assert server.requests[0].headers["x-title"] == "DjinnBot"


def test_claude_models_of_opencode_speak_their_own_protocol(server: Provider) -> None:
    speak("opencode/claude-sonnet-4-6", Credential("k", server.url))
    speak("opencode/glm-4.7", Credential("k", server.url))

    paths = [request.path for request in server.requests]
    assert paths == ["/v1/messages", "/chat/completions"]


def test_servers_of_ones_own_need_no_key(server: Provider) -> None:
    speak("ollama/qwen3", Credential(base_url=server.url))
    speak("custom-den/m", Credential(base_url=server.url))

    assert len(server.requests) == 2


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("groq/llama-3.3-70b-versatile", "GROQ_API_KEY"),
        ("google/gemini-2.5-pro", "GEMINI_API_KEY"),
        ("huggingface/x/y", "HF_TOKEN"),
        ("custom-my-den/m", "CUSTOM_MY_DEN_BASE_URL"),
        ("local/smollm2-135m", "LOCAL_MODEL_URL"),
        ("scripted/other", "scripted/demo"),
        ("nowhere/m", "no model provider called 'nowhere'"),
        ("gpt-5", "provider/model"),
        ("", "provider/model"),
        ("openai/", "provider/model"),
    ],
)
def test_what_is_missing_is_named(name: str, told: str) -> None:
    with pytest.raises(Denied, match=told):
        open_model(name, {})


def test_azure_is_found_by_its_resource_name_or_says_what_to_set() -> None:
    with pytest.raises(Denied, match="AZURE_OPENAI_RESOURCE_NAME"):
        open_model("azure-openai-responses/gpt-4o", {"azure-openai-responses": Credential("k")})
    named = Credential("k", extra={"AZURE_OPENAI_RESOURCE_NAME": "acme"})
    assert open_model("azure-openai-responses/gpt-4o", {"azure-openai-responses": named})


def test_models_say_what_they_are() -> None:
    local = open_model("local/smollm2-135m", {}, "http://127.0.0.1:1/")
    scripted = open_model("scripted/demo", {})
    claude = open_model("anthropic/claude-sonnet-4-6", {"anthropic": Credential("k")})

    assert (local.provider, local.name, local.small, local.scripted) == (
        "local",
        "smollm2-135m",
        True,
        False,
    )
    assert (scripted.scripted, claude.scripted, claude.small) == (True, False, False)
    assert local.window < scripted.window < claude.window


@pytest.mark.parametrize(
    ("model", "thinks"),
    [
        ("claude-opus-4", True),
        ("anthropic/claude-3.7-sonnet", True),
        ("claude-3-5-haiku", False),
        ("gpt-5.1-codex", True),
        ("gpt-4o", False),
        ("o4-mini", True),
        ("gemini-2.5-flash", True),
        ("moonshotai/Kimi-K2-Thinking", True),
        ("kimi-k2", False),
        ("glm-4.7", True),
    ],
)
def test_thinking_models_are_known_by_name(model: str, thinks: bool) -> None:
    assert reasons(model) == thinks
