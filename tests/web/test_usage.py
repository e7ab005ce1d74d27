"""What somebody has used, over HTTP."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from models.agents import Agent
from models.base import db
from models.llm_calls import LlmCall
from models.principals import Principal
from tasks import chats
from tests.models.callers import call
from web import create_app

DAY = 86_400_000
NOON = 20_000 * DAY + DAY // 2  # of 2024-10-04


@pytest.fixture
def done(owner: FlaskClient, work: Callable[..., int]) -> str:
    form = {"pipeline_id": "planning", "task": "Plan it", "project_id": "proj_shared"}
    run_id: str = owner.post("/v1/runs", json=form).json["id"]
    work()
    return run_id


def test_what_one_used_is_what_the_calls_say(owner: FlaskClient, done: str):
    told = owner.get("/v1/usage").json
    calls = list(LlmCall.select())
    assert [(item["id"], item["type"]) for item in told["items"]] == [(done, "run")]
    assert told["items"][0]["agentId"] == "planning"
    assert (told["total"], told["hasMore"]) == (1, False)
    summary = told["summary"]
    assert summary["totalLlmCalls"] == len(calls) > 0
    assert summary["totalTokens"] == sum(each.total_tokens for each in calls)
    assert (summary["totalRuns"], summary["totalSessions"]) == (1, 0)
    assert owner.get("/v1/usage/me").json == told


def test_the_summary_follows_the_filters_but_not_the_page(owner: FlaskClient, done: str):
    whole = owner.get("/v1/usage").json["summary"]
    assert owner.get("/v1/usage?limit=1&offset=1").json["summary"] == whole
    assert owner.get("/v1/usage?offset=1").json["items"] == []
    assert owner.get("/v1/usage?status=completed").json["summary"] == whole
    nothing = owner.get("/v1/usage?status=failed").json
    assert (nothing["total"], nothing["summary"]["totalLlmCalls"]) == (0, 0)
    chats = owner.get("/v1/usage?type=chat").json
    assert (chats["items"], chats["summary"]["totalTokens"]) == ([], 0)
    assert owner.get("/v1/usage?type=run").json["summary"] == whole


def test_chats_are_told_beside_runs(owner: FlaskClient, done: str):
    session = chats.start(
        Principal("usr_owner", "user"), Agent.get_by_id("finn"), {"project_id": "proj_shared"}
    )
    call(at=NOON, cost="0.10", run_id=session.id)
    told = owner.get("/v1/usage?type=chat").json
    (item,) = told["items"]
    assert (item["id"], item["type"], item["agentId"]) == (session.id, "chat", "finn")
    assert (told["summary"]["totalSessions"], told["summary"]["totalCost"]) == (1, 0.1)
    both = owner.get("/v1/usage").json
    assert [each["type"] for each in both["items"]] == ["chat", "run"]
    assert (both["total"], both["summary"]["totalRuns"]) == (2, 1)
    starting = owner.get("/v1/usage?status=starting").json
    assert (starting["total"], starting["summary"]["totalCost"]) == (1, 0.1)
    assert owner.get("/v1/usage?limit=1&offset=1").json["items"] == both["items"][1:]
    (day,) = _buckets(owner, f"from={NOON}&to={NOON + 1}&project_id=proj_shared&type=chat")
    assert day["totalCost"] == 0.1
    chats.purge(session)
    assert owner.get("/v1/usage?type=chat").json["summary"]["totalLlmCalls"] == 0


def test_nobody_sees_what_another_one_used(teammate: FlaskClient, admin: FlaskClient, done: str):
    for other in (teammate, admin):
        assert other.get("/v1/usage").json["total"] == 0
        assert other.get("/v1/usage").json["summary"]["totalLlmCalls"] == 0
        assert not any(each["callCount"] for each in _buckets(other, ""))


def test_without_accounts_the_anonymous_see_their_own(
    app: Flask, local: Any, work: Callable[..., int]
):
    client = create_app(local).test_client()
    client.post("/v1/runs", json={"pipeline_id": "planning", "task": "x"})
    work()
    assert client.get("/v1/usage").json["total"] == 1
    assert client.get("/v1/usage").json["summary"]["totalLlmCalls"] > 0


def test_a_history_has_every_bucket(owner: FlaskClient):
    call(at=NOON, cost="0.10", tokens=7)
    call(at=NOON + 2 * DAY, cost="0.20", tokens=5)
    buckets = _buckets(owner, f"from={NOON}&to={NOON + 3 * DAY}")
    assert [each["start"] for each in buckets] == [(20_000 + day) * DAY for day in range(4)]
    assert [each["totalCost"] for each in buckets] == [0.10, 0.0, 0.20, 0.0]
    assert [each["totalTokens"] for each in buckets] == [7, 0, 5, 0]
    assert "group" not in buckets[0]


def test_a_history_is_told_by_hours_and_months(owner: FlaskClient):
    call(at=NOON, cost="0.10")
    call(at=NOON + 3_600_000, cost="0.20")
    hours = _buckets(owner, f"granularity=hour&from={NOON + 1}&to={NOON + 3_600_001}")
    assert [each["totalCost"] for each in hours] == [0.10, 0.20]
    (month,) = _buckets(owner, f"granularity=month&from={NOON}&to={NOON + 1}")
    assert (month["start"], month["totalCost"]) == (1_727_740_800_000, pytest.approx(0.30))


@pytest.mark.parametrize(
    ("by", "groups"),
    [
        ("provider", {"anthropic": 0.1, "openai": 0.6}),
        ("model", {"small": 0.3, "large": 0.4}),
        ("agent", {"finn": 0.6, "eric": 0.1}),
        ("project", {"": 0.7}),
        ("type", {"run": 0.7}),
    ],
)
def test_a_history_is_told_by_groups(owner: FlaskClient, by: str, groups: dict[str, float]):
    call(at=NOON, cost="0.10", provider="anthropic", model="small", agent_id="eric")
    call(at=NOON, cost="0.20", provider="openai", model="small", agent_id="finn")
    call(at=NOON, cost="0.40", provider="openai", model="large", agent_id="finn")
    told = _buckets(owner, f"from={NOON}&to={NOON + 1}&group_by={by}")
    assert {each["group"]: pytest.approx(each["totalCost"]) for each in told} == groups


def test_a_history_is_narrowed(owner: FlaskClient, done: str):
    when = LlmCall.select().first().created_at
    span = f"from={when}&to={when + 1}"
    (all_of_it,) = _buckets(owner, span)
    for narrowed in ("project_id=proj_shared", "type=run", "provider=scripted"):
        assert _buckets(owner, f"{span}&{narrowed}") == [all_of_it]
    for narrowed in ("project_id=", "type=chat", "provider=none", "model=none", "agent_id=none"):
        (nothing,) = _buckets(owner, f"{span}&{narrowed}")
        assert nothing["callCount"] == 0


def test_calls_without_a_known_price_are_told_of(owner: FlaskClient):
    call(at=NOON, cost=None)
    call(at=NOON, cost="0.01")
    (day,) = _buckets(owner, f"from={NOON}&to={NOON + 1}")
    assert (day["callCount"], day["unpricedCalls"], day["totalCost"]) == (2, 1, 0.01)
    assert owner.get("/v1/usage").json["summary"]["unpricedCalls"] == 1


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("from=10&to=10", "from"),
        (f"from=0&to={401 * DAY}", "from"),
        ("from=x", "from"),
        ("to=-1", "to"),
        (f"to={2**53}", "to"),
        ("granularity=week", "granularity"),
        ("group_by=user", "group_by"),
        ("type=swarm", "type"),
    ],
)
def test_a_question_that_makes_no_sense_is_named(owner: FlaskClient, query: str, field: str):
    answer = owner.get(f"/v1/usage/history?{query}")
    assert (answer.status_code, answer.json["errors"][0]["loc"]) == (422, ["query", field])


def test_the_longest_history_has_as_many_buckets_as_it_may(owner: FlaskClient):
    assert len(_buckets(owner, f"from=0&to={400 * DAY}")) == 400


def test_deleting_a_run_takes_its_calls_away(owner: FlaskClient, done: str):
    owner.delete(f"/v1/runs/{done}")
    assert owner.get("/v1/usage").json["summary"]["totalLlmCalls"] == 0


def test_cents_are_not_lost_over_many_calls(owner: FlaskClient):
    with db.atomic():
        for _ in range(100):
            call(at=NOON, cost="0.00123457")
    cost = Decimal(str(owner.get("/v1/usage").json["summary"]["totalCost"]))
    assert cost == Decimal("0.123457")


def _buckets(client: FlaskClient, query: str) -> list[dict[str, Any]]:
    answer = client.get(f"/v1/usage/history?{query}")
    assert answer.status_code == 200, answer.json
    buckets: list[dict[str, Any]] = answer.json["buckets"]
    return buckets
