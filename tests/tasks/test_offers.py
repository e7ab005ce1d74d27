"""What providers offer: asked live, kept for a while, never a reason to fail."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from flask.testing import FlaskClient
from hypothesis import given
from hypothesis import strategies as some

from models import config, streams
from models.catalogue import PROVIDERS, provider_of
from tasks import offers
from tests.servers.offering import Offering

KEY, OWN = "sk-server-0123456789abcdef", "sk-own-abcdef0123456789"
PATH = "/v1/settings/providers/openai/models"
JSON = some.recursive(
    some.none() | some.booleans() | some.integers() | some.text(max_size=5),
    lambda inner: (
        some.lists(inner, max_size=3)
        | some.dictionaries(some.sampled_from(["data", "models", "id", "name"]), inner, max_size=3)
    ),
    max_leaves=10,
)


@pytest.fixture
def openai(settings: Any, monkeypatch: pytest.MonkeyPatch, stream: str) -> Iterator[Offering]:
    """OpenAI on the loopback, with two models."""
    with Offering() as server:
        entries = [{"id": "gpt-5.2", "name": "GPT-5.2", "description": "Newest"}, {"id": "gpt-4o"}]
        server.body = json.dumps({"data": [*entries, {"name": "nameless"}]}).encode()
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        config.settings.cache_clear()
        yield server
    monkeypatch.undo()
    config.settings.cache_clear()


def hand_over(admin: FlaskClient, key: str = KEY) -> None:
    admin.put("/v1/settings/providers/openai", json={"apiKey": key})


def test_a_provider_tells_what_it_offers_and_is_asked_once_in_a_while(
    openai: Offering, admin: FlaskClient, owner: FlaskClient
) -> None:
    hand_over(admin)
    first, second = owner.get(PATH).json, admin.get(f"{PATH}/").json

    assert first == second
    assert first == {
        "source": "live",
        "models": [
            {"id": "openai/gpt-5.2", "name": "GPT-5.2", "description": "Newest", "reasoning": True},
            {"id": "openai/gpt-4o", "name": "gpt-4o", "reasoning": False},
        ],
    }
    assert openai.asked == [("/v1/models", f"Bearer {KEY}")]


def test_twenty_who_ask_at_once_ask_the_provider_once(
    openai: Offering, admin: FlaskClient, as_caller: Any
) -> None:
    hand_over(admin)
    openai.delay = 0.3
    sources: list[str] = []

    def ask() -> None:
        sources.append(as_caller("djb_owner").get(PATH).json["source"])

    threads = [threading.Thread(target=ask) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (sources, len(openai.asked)) == (["live"] * 20, 1)


def test_who_was_not_let_run_while_another_was_told_reads_what_that_one_kept(
    openai: Offering, admin: FlaskClient, owner: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    hand_over(admin)
    admin.get(PATH)
    monkeypatch.setattr(offers, "SECONDS", 0)  # the time is up at the first look
    assert (owner.get(PATH).json["source"], len(openai.asked)) == ("live", 1)


@pytest.mark.parametrize(
    ("status", "body", "headers"),
    [
        (500, b"{}", {}),
        (200, b"<html>", {}),
        (200, b'{"data": []}', {}),
        (200, b"[" * 5000, {}),
        (200, b'{"data": [' + b" " * 1_100_000 + b"]}", {}),
        (302, b"", {"Location": "http://127.0.0.1:1/"}),
    ],
)
def test_whatever_it_says_there_is_a_list(
    openai: Offering,
    admin: FlaskClient,
    owner: FlaskClient,
    status: int,
    body: bytes,
    headers: dict[str, str],
) -> None:
    hand_over(admin)
    openai.status, openai.body, openai.headers = status, body, headers

    answer = owner.get(PATH)

    assert (answer.status_code, answer.json["source"]) == (200, "static")
    assert answer.json["models"][0]["id"] == "openai/gpt-5.2"
    owner.get(PATH)
    assert len(openai.asked) == 1  # it is left alone for a while


def test_without_a_key_nobody_is_asked(openai: Offering, owner: FlaskClient) -> None:
    assert owner.get(PATH).json["source"] == "static"
    assert openai.asked == []


def test_who_has_a_key_of_their_own_is_told_what_it_is_good_for(
    openai: Offering, admin: FlaskClient, owner: FlaskClient, teammate: FlaskClient
) -> None:
    form = {"name": "Den", "slug": "den", "baseUrl": openai.url, "apiKey": KEY}
    path = "/v1/settings/providers/custom-den/models"
    admin.post("/v1/settings/providers", json=form)
    entries = [{"id": "acme/big model"}, {"id": "custom-den/odd"}]
    openai.body = json.dumps({"models": entries}).encode()

    told = teammate.get(path).json

    assert [model["id"] for model in told["models"]] == [
        "custom-den/acme/big model",
        "custom-den/custom-den/odd",
    ]
    mine = {"extraConfig": {"OLLAMA_BASE_URL": openai.url}, "apiKey": OWN}
    admin.put("/v1/settings/user-providers/ollama", json=mine)
    assert admin.get("/v1/settings/providers/ollama/models").json["source"] == "live"
    assert openai.asked[-1] == ("/v1/models", f"Bearer {OWN}")
    assert owner.get("/v1/settings/providers/ollama/models").json["source"] == "static"


def test_what_is_kept_names_no_key(openai: Offering, admin: FlaskClient, stream: str) -> None:
    hand_over(admin)
    admin.get(PATH)

    with redis.Redis.from_url(stream) as client:
        (name,) = client.keys("djinn:models:*")
        kept = name + client.get(name)
    assert KEY.encode() not in kept


def test_redis_may_be_away(
    openai: Offering, admin: FlaskClient, owner: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    hand_over(admin)
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1/0")
    config.settings.cache_clear()
    streams.client.cache_clear()

    assert owner.get(PATH).json["source"] == "live"
    streams.client.cache_clear()


@pytest.mark.parametrize(
    ("provider", "told", "called"),
    [
        ("openai", "gpt-5.2", "openai/gpt-5.2"),
        ("openrouter", "anthropic/claude-sonnet-4", "openrouter/anthropic/claude-sonnet-4"),
        ("openrouter", "openrouter/auto", "openrouter/openrouter/auto"),
        ("groq", "openai/gpt-oss-120b", "groq/openai/gpt-oss-120b"),
        ("mistral", "mistral/large", "mistral/large"),
        ("custom-den", "a/b/c", "custom-den/a/b/c"),
    ],
)
def test_a_model_is_called_what_opens_it_here(provider: str, told: str, called: str) -> None:
    (offer,) = offers.read(provider_of(provider), {"data": [{"id": told}]})
    assert offer["id"] == called


@given(JSON)
def test_no_answer_of_a_provider_is_too_strange(body: Any) -> None:
    for offer in offers.read(PROVIDERS["openai"], body):
        assert offer["id"].startswith("openai/")
        assert isinstance(offer["name"], str)
