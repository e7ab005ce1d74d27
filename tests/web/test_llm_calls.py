"""Model calls over HTTP."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from flask.testing import FlaskClient

from models.llm_calls import LlmCall


@pytest.fixture
def run(owner: FlaskClient, work: Callable[..., int]) -> str:
    run_id = owner.post("/v1/runs", json={"pipeline_id": "bugfix", "task": "x"}).json["id"]
    work()
    return run_id


def test_calls_come_with_what_they_add_up_to(owner: FlaskClient, run: str):
    told = owner.get(f"/v1/llm-calls/?run_id={run}&limit=2").json
    assert len(told["calls"]) == 2
    assert told["hasMore"] is True
    assert told["total"] == told["summary"]["callCount"] == LlmCall.select().count()
    tokens = sum(call.total_tokens for call in LlmCall.select())
    assert told["summary"]["totalTokens"] == tokens > 0
    assert told["summary"]["totalCost"] == 0.0
    assert told["summary"]["contextPercent"] is not None
    call = told["calls"][0]
    assert call["provider"] == "scripted"
    assert call["user_id"] == "usr_owner"
    assert owner.get(f"/v1/llm-calls/{call['id']}").json == call


def test_limit_zero_answers_the_summary_alone(owner: FlaskClient, run: str):
    told = owner.get(f"/v1/llm-calls?run_id={run}&limit=0").json
    assert told["calls"] == []
    assert told["total"] == told["summary"]["callCount"] > 0


def test_the_summary_is_broken_down(owner: FlaskClient, run: str):
    told = owner.get("/v1/llm-calls/summary?provider=scripted").json
    assert told["summary"]["callCount"] > 0
    assert [group["provider"] for group in told["byProvider"]] == ["scripted"]
    assert told["byModel"][0]["model"]
    assert {group["agent_id"] for group in told["byAgent"]} == {"yukihiro", "chieko"}
    nothing = owner.get("/v1/llm-calls/summary?provider=none").json
    assert (nothing["summary"]["callCount"], nothing["byAgent"]) == (0, [])


def test_calls_belong_to_whom_they_were_made_for(
    stranger: FlaskClient, admin: FlaskClient, run: str
):
    call = LlmCall.select().first().id
    assert stranger.get("/v1/llm-calls").json["total"] == 0
    assert stranger.get("/v1/llm-calls/summary").json["summary"]["callCount"] == 0
    unknown = stranger.get(f"/v1/llm-calls/{call}")
    assert (unknown.status_code, unknown.json["detail"]) == (404, f"LLM call {call} not found")
    assert admin.get("/v1/admin/llm-calls?provider=scripted").json["total"] > 0
    assert admin.get("/v1/admin/llm-calls?key_source=instance").json["total"] == 0
