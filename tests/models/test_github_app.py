"""GitHub's API as our App uses it: limited tokens that nobody overhears."""

from __future__ import annotations

import logging
from datetime import timedelta

import pytest
import redis

from models import config, github_app, streams
from models.config import Misconfigured, Settings
from models.config_github import GithubSettings
from models.errors import NotFound, Unavailable, Unreachable
from tests.servers.github import APP_ID, INSTALLATION, Github


@pytest.fixture
def names(github: Github) -> list[str]:
    """Seven repositories, on three pages."""
    found = [f"acme/r{number}" for number in range(7)]
    github.repositories[INSTALLATION] = found
    return found


def test_every_page_of_every_installation_is_read(stream: str, github: Github, names: list[str]):
    github.repositories[5] = ["other/x"]
    every = [(number, each["full_name"]) for number, each in github_app.every_repository(None)]
    assert every == [(INSTALLATION, name) for name in names] + [(5, "other/x")]
    assert len(list(github_app.every_repository(5))) == 1


def test_no_more_pages_are_asked_for_than_are_needed(stream: str, github: Github, names: list[str]):
    next(github_app.every_repository(INSTALLATION))
    assert github.asked.count("GET /installation/repositories") == 1


def test_a_token_opens_one_repository_and_only_what_agents_do_there(
    stream: str, github: Github, names: list[str]
):
    github.permissions |= {"administration": "write", "issues": "read"}
    token = github_app.token(INSTALLATION, "r3")
    minted = github.tokens[token.text]
    assert minted["names"] == ["acme/r3"]
    assert minted["permissions"] == {
        "contents": "write",
        "issues": "read",  # no more than the installation allows
        "pull_requests": "write",
        "metadata": "read",
    }
    with pytest.raises(Unreachable, match="422"):
        github_app.token(INSTALLATION, "not-covered")


def test_a_token_is_kept_for_its_holder_until_shortly_before_it_expires(
    stream: str, github: Github, names: list[str]
):
    first = github_app.token(INSTALLATION, "r1", holder="agent:finn")
    assert github_app.token(INSTALLATION, "r1", holder="agent:finn") == first
    assert github_app.token(INSTALLATION, "r1", holder="agent:eric") != first
    assert github_app.token(INSTALLATION, "r2", holder="agent:finn") != first
    github.life = timedelta(seconds=github_app.EARLY_SECONDS - 1)
    short = github_app.token(INSTALLATION, "r4")
    assert github_app.token(INSTALLATION, "r4") != short
    with redis.Redis.from_url(stream) as client:
        for key in client.keys("djinn:github:*"):
            assert b"ghs_" not in client.get(key)
            assert 0 < client.ttl(key) <= 3600 - github_app.EARLY_SECONDS


def test_redis_may_be_emptied_garbled_or_away(
    stream: str, github: Github, names: list[str], monkeypatch: pytest.MonkeyPatch
):
    first = github_app.token(INSTALLATION, "r1")
    with redis.Redis.from_url(stream) as client:
        (key,) = client.keys("djinn:github:*")
        client.set(key, "garbage")
        assert github_app.token(INSTALLATION, "r1") != first
        client.flushdb()
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1/0")
    config.settings.cache_clear()
    assert github_app.token(INSTALLATION, "r1") != first
    streams.client("redis://127.0.0.1:1/0").close()


def test_neither_tokens_nor_answers_are_told_in_errors_and_logs(
    stream: str, github: Github, names: list[str], caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.DEBUG)
    token = github_app.token(INSTALLATION, "r1")
    github.failing = 500
    with pytest.raises(Unreachable) as refused:
        github_app.installation(INSTALLATION)
    assert str(refused.value) == f"GitHub answered 500 to GET /app/installations/{INSTALLATION}"
    assert token.text not in repr(token)
    assert "ghs_" not in caplog.text
    assert "eyJ" not in caplog.text


def test_what_is_not_there_and_who_does_not_answer_are_told_apart(
    stream: str, github: Github, monkeypatch: pytest.MonkeyPatch
):
    with pytest.raises(NotFound):
        github_app.installation(1)
    with pytest.raises(NotFound):
        github_app.repository("acme", "other")
    monkeypatch.setenv("GITHUB_API_URL", "http://127.0.0.1:1")
    config.settings.cache_clear()
    with pytest.raises(Unreachable, match="ConnectError"):
        github_app.installation(INSTALLATION)


def test_the_app_is_known_by_its_key_alone(
    stream: str, github: Github, monkeypatch: pytest.MonkeyPatch
):
    assert github_app.app()["id"] == int(APP_ID)
    config.settings().github.key_path.write_text("-----BEGIN PRIVATE KEY-----\nx\n")
    with pytest.raises(Unavailable, match="does not open"):
        github_app.app()
    config.settings().github.key_path.unlink()
    with pytest.raises(Unavailable, match="GITHUB_APP_PRIVATE_KEY_PATH"):
        github_app.app()


def test_settings_say_what_is_missing_first_and_never_stop_the_server(tmp_path):
    faults: list[str] = []
    none = GithubSettings.read({}, faults)
    assert none.missing[0] == "GITHUB_APP_ID"
    assert len(none.missing) == 4
    key = tmp_path / "key.pem"
    told = {
        "GITHUB_APP_ID": "x7",
        "GITHUB_APP_CLIENT_ID": "Iv1.x",
        "GITHUB_APP_WEBHOOK_SECRET": " new , old,",
        "GITHUB_APP_PRIVATE_KEY_PATH": str(key),
    }
    for text, fault in (
        (None, "GITHUB_APP_PRIVATE_KEY_PATH"),
        ("", "number"),
        ("key", "number"),
    ):
        if text is not None:
            key.write_text(text)
        read = GithubSettings.read(told, faults)
        assert fault in (read.fault or "")
    told["GITHUB_APP_ID"] = "7"
    for text, fault in (("", "empty"), ("key", "PEM"), ("-----BEGIN PRIVATE KEY-----", None)):
        key.write_text(text)
        assert (GithubSettings.read(told, faults).fault is None) == (fault is None), text
    assert read.webhook_secrets == ("new", "old")
    assert "new" not in repr(read)
    assert faults == []
    with pytest.raises(Misconfigured, match="GITHUB_API_URL"):
        Settings.read({"GITHUB_API_URL": "ftp://x"})


@pytest.mark.parametrize(
    ("api", "web", "install"),
    [
        ("https://api.github.com", "https://github.com", "https://github.com/apps/bot/"),
        ("https://ghe.example/api/v3/", "https://ghe.example", "https://ghe.example/github-apps/"),
    ],
)
def test_an_enterprise_server_is_known_by_its_api(api: str, web: str, install: str):
    read = GithubSettings.read({"GITHUB_API_URL": api, "GITHUB_APP_NAME": "bot"}, [])
    assert read.web_url == web
    assert read.install_url.startswith(install)
