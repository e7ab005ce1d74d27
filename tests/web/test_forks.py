"""Forks and replays over HTTP: who may, what is answered, what is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from flask.testing import FlaskClient

from tests.web.test_budgets import UNTOUCHED

Work = Callable[..., int]


@pytest.fixture
def done(owner: FlaskClient, run: str, work: Work) -> str:
    """A run that is completed."""
    work()
    assert owner.get(f"/v1/runs/{run}").json["status"] == "completed"
    return run


def test_a_fork_shows_what_it_shares_before_it_begins(owner: FlaskClient, done: str, work: Work):
    answer = owner.post(f"/v1/runs/{done}/fork", json={"from_step": "VALIDATE"})
    assert answer.status_code == 200
    told = answer.json
    assert (told["status"], told["kind"], told["origin_id"]) == ("pending", "pipeline", done)
    assert [step["status"] for step in told["steps"]] == ["completed", "pending"]
    assert "root_cause" in told["outputs"] and "validation_result" not in told["outputs"]
    assert told["workspace_exists"]
    work()
    told = owner.get(f"/v1/runs/{told['id']}").json
    assert told["status"] == "completed"
    assert owner.get(f"/v1/llm-calls/summary?run_id={told['id']}").status_code == 200
    original = owner.get(f"/v1/runs/{done}").json
    assert (original["kind"], original["origin_id"]) == ("pipeline", None)


def test_nothing_need_be_said_to_fork_or_replay(owner: FlaskClient, done: str):
    for path in ("fork", "replay"):
        assert owner.post(f"/v1/runs/{done}/{path}").status_code == 200
        assert owner.post(f"/v1/runs/{done}/{path}/", json={}).status_code == 200
    assert owner.get("/v1/runs").headers["X-Total-Count"] == "5"


def test_a_fork_says_otherwise_what_it_was_told(owner: FlaskClient, done: str):
    body = {"model_override": "openai/gpt-5.2", "human_context": "Look at the clock"}
    told = owner.post(f"/v1/runs/{done}/fork", json=body).json
    assert {name: told[name] for name in body} == body


def test_a_fork_may_spend_what_its_source_might_or_what_it_is_told(
    ask: Callable[..., Any], owner: FlaskClient, work: Work
):
    source = ask(budget_usd=1, budget_tokens=10**6)["id"]
    work()

    def budget_of(**limits: Any) -> Any:
        return owner.post(f"/v1/runs/{source}/fork", json=limits).json["budget"]

    assert owner.get(f"/v1/runs/{source}").json["budget"]["spent_tokens"] > 0
    assert budget_of() == {**UNTOUCHED, "limit_usd": 1, "limit_tokens": 10**6}
    told = budget_of(budget_usd=0.25, budget_tokens=None)
    assert told == {**UNTOUCHED, "limit_usd": 0.25, "limit_tokens": None}
    assert budget_of(budget_usd=None, budget_tokens=None) is None
    refusal = owner.post(f"/v1/runs/{source}/fork", json={"budget_usd": 0})
    assert refusal.json["errors"][0]["loc"] == ["body", "budget_usd"]


def test_what_is_not_there_is_not_found(owner: FlaskClient, done: str):
    told = owner.post(f"/v1/runs/{done}/fork", json={"from_step": "NOWHERE"})
    assert (told.status_code, told.json["detail"]) == (
        404,
        f"Step NOWHERE of run {done} not found",
    )
    for path in ("fork", "replay"):
        assert owner.post(f"/v1/runs/none/{path}").status_code == 404


def test_strangers_can_neither_fork_nor_replay(
    stranger: FlaskClient, admin: FlaskClient, done: str
):
    for path in ("fork", "replay"):
        assert stranger.post(f"/v1/runs/{done}/{path}").status_code == 404
        told = admin.post(f"/v1/runs/{done}/{path}").json
        assert told["initiated_by_user_id"] == "usr_admin"


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("fork", {"from_step": ""}),
        ("fork", {"from_step": 7}),
        ("fork", {"human_context": "x" * 200_001}),
        ("fork", ["FIX"]),
        ("replay", {"definition": "yesterday"}),
    ],
)
def test_a_bad_request_is_refused(owner: FlaskClient, run: str, path: str, body: object):
    assert owner.post(f"/v1/runs/{run}/{path}", json=body).status_code == 422


def test_the_same_key_gives_the_same_run(owner: FlaskClient, done: str):
    for path in ("fork", "replay"):
        key = {"Idempotency-Key": f"once-{path}"}
        first, second = (
            owner.post(f"/v1/runs/{done}/{path}", headers=key).json["id"] for _ in range(2)
        )
        assert first == second
        other = {"from_step": "FIX"} if path == "fork" else {"definition": "pinned"}
        answer = owner.post(f"/v1/runs/{done}/{path}", json=other, headers=key)
        assert answer.status_code == 409


def test_a_run_that_is_not_over_cannot_be_replayed(owner: FlaskClient, run: str):
    told = owner.post(f"/v1/runs/{run}/replay")
    assert (told.status_code, told.json["detail"]) == (
        409,
        f"Run {run} is pending; it can be replayed once it is over",
    )


def test_a_replay_is_neither_replayed_nor_forked(owner: FlaskClient, done: str, work: Work):
    replay = owner.post(f"/v1/runs/{done}/replay").json["id"]
    work()
    for path in ("fork", "replay"):
        told = owner.post(f"/v1/runs/{replay}/{path}")
        assert told.status_code == 409
        assert done in told.json["detail"]
