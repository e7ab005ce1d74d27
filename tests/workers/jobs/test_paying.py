"""Whose key a step's calls are made with, what is written of it, and what happens without one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask.testing import FlaskClient

from models import base, config, events, runs
from models.accounts import User
from models.llm_calls import LlmCall
from models.projects import Project
from models.runs import Run
from models.sessions import Session
from models.steps import Step
from tasks import pipelines
from tests.conftest import PROJECT
from tests.servers.provider import Answer, Provider, Received

SERVER, OWN = "sk-server-0123456789abcdef", "sk-own-abcdef0123456789"
SHARES = "/v1/admin/shared-providers"
SAY = """
id: say
name: Say
agents: [{id: yukihiro, name: Yukihiro}]
steps:
  - {id: SAY, agent: yukihiro, input: "Say yes", tools: [], outputs: [answer], maxRetries: 0}
"""


@pytest.fixture
def provider(
    settings: Any, monkeypatch: pytest.MonkeyPatch, admin: FlaskClient
) -> Iterator[Provider]:
    """OpenAI on the loopback, to which the server has a key."""
    with Provider() as server:
        server.answers(Answer(text=('{"answer": "yes"}',), tokens=(100, 20)))
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        config.settings.cache_clear()
        admin.put("/v1/settings/providers/openai", json={"apiKey": SERVER})
        yield server
    monkeypatch.undo()
    config.settings.cache_clear()


@pytest.fixture
def say(provider: Provider, work: Callable[..., int]) -> Callable[..., Run]:
    """Has somebody's run done as far as it goes."""
    pipelines.put("say", SAY)

    def do(client: FlaskClient, **more: Any) -> Run:
        form = {"pipeline_id": "say", "task": "x", "model_override": "openai/gpt-4o", **more}
        asked = client.post("/v1/runs", json=form)
        assert asked.status_code == 200, asked.json
        work()
        return Run.get_by_id(asked.json["id"])

    return do


def paid(run: Run) -> tuple[str | None, str | None]:
    call = LlmCall.get(LlmCall.run_id == run.id)
    return call.key_source, call.key_masked


def used(provider: Provider) -> list[str]:
    sent = [request.headers["authorization"] for request in provider.requests]
    return [words.removeprefix("Bearer ") for words in sent]


def bring(client: FlaskClient, key: str = OWN) -> None:
    client.put("/v1/settings/user-providers/openai", json={"apiKey": key})


def test_a_persons_run_is_made_with_their_own_key(
    say: Callable[..., Run], owner: FlaskClient, admin: FlaskClient, provider: Provider
) -> None:
    admin.post(SHARES, json={"providerId": "openai"})
    bring(owner)

    run = say(owner)

    assert (run.state, used(provider)) == (runs.COMPLETED, [OWN])
    assert paid(run) == ("personal", "sk-...6789")
    resolution = {
        "userId": "usr_owner",
        "source": "executing_user",
        "resolvedProviders": ["openai"],
        "providerSources": {"openai": {"source": "personal", "masked_key": "sk-...6789"}},
    }
    assert run.key_resolution == Session.get(Session.run_id == run.id).key_resolution == resolution
    assert owner.get(f"/v1/runs/{run.id}").json["key_resolution"] == resolution


def test_without_one_it_is_made_with_the_servers_if_that_is_shared(
    say: Callable[..., Run], owner: FlaskClient, admin: FlaskClient, provider: Provider
) -> None:
    admin.post(SHARES, json={"providerId": "openai", "allowedModels": ["gpt-4o"]})
    run = say(owner)
    refused = say(owner, model_override="openai/gpt-5.2")

    assert (paid(run), used(provider)) == (("admin_shared", "sk-...cdef"), [SERVER])
    assert refused.state == runs.FAILED
    (step,) = Step.of(refused)
    assert "is not good for openai/gpt-5.2, only for gpt-4o" in step.error


def test_with_neither_the_run_fails_and_says_what_to_do(
    say: Callable[..., Run], owner: FlaskClient, provider: Provider
) -> None:
    run = say(owner)

    (step,) = Step.of(run)
    assert (run.state, step.final, used(provider)) == (runs.FAILED, True, [])
    assert "OpenAI has no key for you" in step.error
    assert "PUT /v1/settings/user-providers/openai" in step.error


def test_a_scripted_model_takes_no_key_of_anybody(
    say: Callable[..., Run], owner: FlaskClient
) -> None:
    run = say(owner, model_override="scripted/demo")

    assert (run.state, run.key_resolution, paid(run)) == (runs.COMPLETED, None, (None, None))


@pytest.mark.parametrize("who", ["admin", "engine"])
def test_admins_and_services_use_the_servers_key(
    say: Callable[..., Run], request: pytest.FixtureRequest, who: str, provider: Provider
) -> None:
    run = say(request.getfixturevalue(who))

    assert (paid(run), used(provider)) == (("instance", "sk-...cdef"), [SERVER])
    source = "executing_user" if who == "admin" else "system"
    assert run.key_resolution["source"] == source


def test_a_run_of_nobody_is_paid_by_whom_its_project_names(
    say: Callable[..., Run], engine: FlaskClient, owner: FlaskClient, provider: Provider
) -> None:
    bring(owner)
    Project.update(key_user_id="usr_owner").where(Project.id == PROJECT).execute()

    run = say(engine, project_id=PROJECT)

    assert (paid(run)[0], used(provider)) == ("personal", [OWN])
    assert run.key_resolution["userId"] == "usr_owner"


def test_who_was_locked_out_pays_nothing_any_more(
    say: Callable[..., Run], engine: FlaskClient, owner: FlaskClient, provider: Provider
) -> None:
    bring(owner)
    Project.update(key_user_id="usr_owner").where(Project.id == PROJECT).execute()
    User.update(is_active=False).where(User.id == "usr_owner").execute()

    run = say(engine, project_id=PROJECT)

    assert (run.state, used(provider)) == (runs.FAILED, [])
    assert "disabled" in Step.of(run)[0].error


def test_a_run_that_has_used_up_a_share_pauses_and_goes_on_with_a_key_of_ones_own(
    say: Callable[..., Run],
    owner: FlaskClient,
    admin: FlaskClient,
    provider: Provider,
    work: Callable[..., int],
) -> None:
    admin.post(SHARES, json={"providerId": "openai", "dailyLimit": 1})
    assert say(owner).state == runs.COMPLETED

    waiting = say(owner)
    told = [event for event in events.after(waiting.id, 0, 100) if event.type == "budget_reached"]
    assert (waiting.state, waiting.pause_reason) == (runs.PAUSED, "budget_reached")
    assert (told[0].data["scope"], told[0].data["of"]) == ("share", "usr_owner")
    assert (told[0].data["limitCalls"], told[0].data["spentCalls"]) == (1, 1)
    assert "/v1/settings/user-providers/openai" in told[0].data["raise"]
    (shown,) = owner.get("/v1/settings/user-providers").json
    assert (shown["blocked"], shown["callsLeft"]) == (True, 0)

    bring(owner)
    owner.post(f"/v1/runs/{waiting.id}/resume")
    work()

    assert Run.get_by_id(waiting.id).state == runs.COMPLETED
    assert used(provider) == [SERVER, OWN]
    assert list(Run.get_by_id(waiting.id).key_resolution["providerSources"]) == ["openai"]


def test_what_a_person_may_use_a_day_in_tokens_binds_real_calls_until_an_admin_raises_it(
    say: Callable[..., Run],
    owner: FlaskClient,
    admin: FlaskClient,
    provider: Provider,
    work: Callable[..., int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("USER_DAILY_BUDGET_TOKENS", "30000")
    config.settings.cache_clear()
    bring(owner)
    provider.answers(Answer(text=('{"answer": "yes"}',), tokens=(4_000, 1_000)))

    done = 0
    while (run := say(owner)).state == runs.COMPLETED:
        done += 1
        assert done <= 6
    day = owner.get("/v1/usage/budget").json
    told = [event.data for event in events.after(run.id, 0, 100) if event.type == "budget_reached"]
    raised = {"user_id": "usr_owner", "budget_tokens": 60_000}
    admin.put("/v1/usage/budget", json=raised)
    owner.post(f"/v1/runs/{run.id}/resume")
    work()

    assert done >= 2
    assert (day["limit_tokens"], day["spent_tokens"]) == (30_000, done * 5_000)
    assert (run.state, told[0]["scope"], told[0]["limitTokens"]) == ("paused", "user_day", 30_000)
    assert f"Resume run {run.id} on the next day" in told[0]["raise"]
    assert Run.get_by_id(run.id).state == runs.COMPLETED
    after = owner.get("/v1/usage/budget").json
    assert (after["spent_tokens"], after["reserved_tokens"]) == ((done + 1) * 5_000, 0)


def test_a_share_that_loses_the_model_is_not_used_for_the_next_call_of_the_same_step(
    say: Callable[..., Run],
    owner: FlaskClient,
    admin: FlaskClient,
    provider: Provider,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    share = admin.post(SHARES, json={"providerId": "openai", "allowedModels": ["gpt-4o"]}).json
    provider.answers(Answer(text=("that is no JSON",)), Answer(text=('{"answer": "yes"}',)))
    reply_to = provider.reply_to

    def narrowing(received: Received) -> Answer:
        """An admin takes the model from the share while it is answering."""
        admin.patch(f"{SHARES}/{share['id']}", json={"allowedModels": ["gpt-5.2"]})
        return reply_to(received)

    monkeypatch.setattr(provider, "reply_to", narrowing)
    run = say(owner)

    assert (run.state, used(provider)) == (runs.FAILED, [SERVER])
    assert "not good for openai/gpt-4o any more, only for gpt-5.2" in Step.of(run)[0].error
    assert owner.get("/v1/settings/user-providers").json[0]["callsLeft"] is None
    assert LlmCall.select().where(LlmCall.run_id == run.id).count() == 1  # which is kept


def test_what_was_used_of_a_share_is_seen_by_who_uses_it_and_by_admins(
    say: Callable[..., Run], owner: FlaskClient, admin: FlaskClient
) -> None:
    admin.post(SHARES, json={"providerId": "openai", "dailyCostLimitUsd": 1})
    say(owner)

    (shown,) = owner.get("/v1/settings/user-providers").json
    (share,) = admin.get(f"{SHARES}/usage").json["shares"]
    assert shown["costLeftUsd"] == pytest.approx(1 - share["costTodayUsd"])
    # More than once where a slow machine lost the call: it counts as dear as it could become.
    assert share["callsToday"] >= 1
    assert share["costTodayUsd"] >= float(LlmCall.get().cost_total)


def test_a_call_that_the_provider_refused_at_once_does_not_count(
    say: Callable[..., Run], owner: FlaskClient, admin: FlaskClient, provider: Provider
) -> None:
    admin.post(SHARES, json={"providerId": "openai", "dailyLimit": 5})
    provider.answers(Answer(status=401, error={"message": f"no such key: {SERVER}"}))

    run = say(owner)

    assert run.state == runs.FAILED
    assert "check with an admin the key that is shared with you" in Step.of(run)[0].error
    assert owner.get("/v1/settings/user-providers").json[0]["callsLeft"] == 5


def test_no_key_is_written_anywhere_by_a_run_that_uses_it(
    say: Callable[..., Run],
    owner: FlaskClient,
    admin: FlaskClient,
    provider: Provider,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    bring(owner)
    say(owner)
    say(admin)
    provider.answers(Answer(status=401, error={"message": f"no such key: {OWN}"}))
    say(owner)

    for name in base.db.get_tables():
        rows = base.db.execute_sql(f'SELECT t::text FROM "{name}" AS t').fetchall()  # noqa: S608
        dump = "\n".join(row[0] for row in rows)
        assert OWN not in dump, name
        assert SERVER not in dump, name
    said = caplog.text + "".join(capsys.readouterr())
    assert OWN not in said
    assert SERVER not in said


def test_finding_the_key_takes_one_statement_and_none_where_nothing_is_paid(
    say: Callable[..., Run], owner: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    from workers.agents.accounting import paying

    bring(owner)
    run = say(owner)
    asked: list[str] = []
    execute = base.db.now
    monkeypatch.setattr(base.db, "now", lambda *told: (asked.append(told[0]), execute(*told))[1])

    assert paying(run, "openai/gpt-4o") is not None
    assert len(asked) == 1
    assert paying(run, "scripted/demo") is paying(run, "local/smollm2-135m") is None
    assert len(asked) == 1
