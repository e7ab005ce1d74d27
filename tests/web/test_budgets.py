"""What may be spent, as clients say and read it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import pytest
from flask.testing import FlaskClient

from models import base, budgets, config, events, runs, spending
from models.budgets import Budget
from models.llm_calls import LlmCall
from models.runs import Run
from models.spending import Amount, Reached
from tasks import budgets as commands
from tests.conftest import PROJECT
from tests.web.boards import planted

UNTOUCHED = {"spent_usd": 0, "spent_tokens": 0, "reserved_usd": 0, "reserved_tokens": 0}


@pytest.fixture
def surroundings(settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Says what operators have set."""

    def told(**names: str) -> None:
        for name, value in names.items():
            monkeypatch.setenv(name, value)
        config.settings.cache_clear()

    yield told
    monkeypatch.undo()
    config.settings.cache_clear()


def refused(run_id: str, usd: str | None = "9") -> None:
    """The run's next call does not fit."""
    with base.db.atomic():
        run = Run.locked(run_id)
        assert run is not None
        if run.state == runs.PENDING:
            run.move(runs.RUNNING)
        needs = Amount(None if usd is None else Decimal(usd), 9)
        reached = spending.reserve(run, "exec_1", needs)
        assert isinstance(reached, Reached)
        commands.pause(run, reached)


def happened(run_id: str) -> dict[str, Any]:
    """What the last budget_reached of a run said."""
    told = [event for event in events.after(run_id, 0, 100) if event.type == "budget_reached"]
    return told[-1].data


def test_a_run_may_be_asked_for_within_a_budget(
    ask: Callable[..., dict[str, Any]], owner: FlaskClient
) -> None:
    limited = ask(budget_usd=2.5, budget_tokens=1000)["id"]
    free = ask()["id"]

    assert owner.get(f"/v1/runs/{limited}").json["budget"] == {
        "limit_usd": 2.5,
        "limit_tokens": 1000,
        **UNTOUCHED,
    }
    assert owner.get(f"/v1/runs/{free}").json["budget"] is None
    assert owner.get(f"/v1/runs/{free}").json["pause_reason"] is None


@pytest.mark.parametrize(
    "limits",
    [
        {"budget_usd": 0},
        {"budget_usd": -1},
        {"budget_usd": "5"},
        {"budget_usd": True},
        {"budget_usd": 1_000_001},
        {"budget_tokens": 0},
        {"budget_tokens": 1.5},
        {"budget_tokens": 2**53},
    ],
)
def test_a_budget_that_is_none_is_refused(owner: FlaskClient, limits: dict[str, Any]) -> None:
    body = {"pipeline_id": "bugfix", "task_description": "x", **limits}
    answer = owner.post("/v1/runs", json=body)

    assert answer.status_code == 422
    assert answer.json["errors"][0]["loc"] == ["body", next(iter(limits))]


def test_operators_may_give_every_run_a_budget(
    ask: Callable[..., dict[str, Any]],
    owner: FlaskClient,
    surroundings: Callable[..., None],
) -> None:
    surroundings(RUN_BUDGET_USD="0.75", RUN_BUDGET_TOKENS="5000")

    usual = owner.get(f"/v1/runs/{ask()['id']}").json["budget"]
    own = owner.get(f"/v1/runs/{ask(budget_usd=3, budget_tokens=None)['id']}").json["budget"]

    assert (usual["limit_usd"], usual["limit_tokens"]) == (0.75, 5000)
    assert (own["limit_usd"], own["limit_tokens"]) == (3, None)


def test_a_limit_set_late_counts_from_the_beginning(run: str, owner: FlaskClient) -> None:
    call = {"agent_id": "yukihiro", "provider": "openai", "model": "gpt-4o", "run_id": run}
    LlmCall(cost_total=Decimal("0.5"), total_tokens=77, **call).add()

    answer = owner.put(f"/v1/runs/{run}/budget", json={"budget_usd": 1})

    assert answer.status_code == 200
    expected = {"limit_usd": 1, "limit_tokens": None, "spent_usd": 0.5, "spent_tokens": 77}
    assert answer.json == {**UNTOUCHED, **expected}
    assert owner.get(f"/v1/runs/{run}").json["budget"] == answer.json


def test_a_limit_may_be_raised_and_taken_away(
    ask: Callable[..., dict[str, Any]], owner: FlaskClient
) -> None:
    run = ask(budget_usd=1, budget_tokens=10)["id"]

    raised = owner.put(f"/v1/runs/{run}/budget", json={"budget_usd": 2}).json
    freed = owner.put(f"/v1/runs/{run}/budget", json={"budget_tokens": None}).json
    nothing = owner.put(f"/v1/runs/{run}/budget", json={}).json

    assert (raised["limit_usd"], raised["limit_tokens"]) == (2, 10)
    assert (freed["limit_usd"], freed["limit_tokens"]) == (2, None)
    assert nothing == freed


def test_only_who_sees_a_run_raises_its_budget(run: str, stranger: FlaskClient) -> None:
    answer = stranger.put(f"/v1/runs/{run}/budget", json={"budget_usd": 1})

    assert answer.status_code == 404
    assert Budget.select().count() == 0


def test_what_a_session_brings_about_may_cost_more_once_its_owner_says_so(
    run: str, owner: FlaskClient, stranger: FlaskClient
) -> None:
    Run.update(kind=runs.WAKE).where(Run.id == run).execute()
    assert owner.get(f"/v1/runs/{run}").status_code == 404

    assert stranger.put(f"/v1/runs/{run}/budget", json={"budget_usd": 1}).status_code == 404
    assert owner.put(f"/v1/runs/{run}/budget", json={"budget_usd": 1}).json["limit_usd"] == 1


def test_a_run_that_reaches_its_budget_pauses_and_says_how_to_go_on(
    ask: Callable[..., dict[str, Any]], owner: FlaskClient
) -> None:
    run = ask(budget_usd=1)["id"]
    refused(run)

    detail = owner.get(f"/v1/runs/{run}").json
    assert (detail["status"], detail["pause_reason"]) == ("paused", "budget_reached")
    said = happened(run)
    assert f"/v1/runs/{run}/budget" in said.pop("raise")
    assert said == {
        "stepId": "",
        "scope": "run",
        "of": run,
        "limitUsd": 1.0,
        "limitTokens": None,
        "spentUsd": 0.0,
        "spentTokens": 0,
        "needsUsd": 9.0,
        "needsTokens": 9,
    }

    resumed = owner.post(f"/v1/runs/{run}/resume", json={"budget_usd": 20})
    detail = owner.get(f"/v1/runs/{run}").json

    assert (resumed.status_code, resumed.json["status"]) == (200, "running")
    assert (detail["pause_reason"], detail["budget"]["limit_usd"]) == (None, 20)


def test_a_model_without_a_known_price_says_what_else_can_be_done(
    ask: Callable[..., dict[str, Any]],
) -> None:
    run = ask(budget_usd=1)["id"]
    refused(run, usd=None)

    assert "Nobody knows what this model costs" in happened(run)["raise"]
    assert happened(run)["needsUsd"] is None


def test_a_run_that_a_person_paused_still_says_that_its_budget_is_reached(
    ask: Callable[..., dict[str, Any]], owner: FlaskClient, work: Callable[..., int]
) -> None:
    run = ask(budget_usd=1)["id"]
    Run.get_by_id(run).move(runs.RUNNING)
    owner.post(f"/v1/runs/{run}/pause")
    assert owner.get(f"/v1/runs/{run}").json["pause_reason"] == "asked"

    refused(run)

    assert owner.get(f"/v1/runs/{run}").json["pause_reason"] == "budget_reached"


def test_a_user_reads_the_own_day_and_an_admin_raises_it(
    ask: Callable[..., dict[str, Any]],
    owner: FlaskClient,
    admin: FlaskClient,
    surroundings: Callable[..., None],
) -> None:
    surroundings(USER_DAILY_BUDGET_USD="1")
    run = ask()["id"]
    refused(run)

    day = owner.get("/v1/usage/budget").json
    raised = {"user_id": "usr_owner", "budget_usd": 50}
    by_owner = owner.put("/v1/usage/budget", json=raised)
    by_admin = admin.put("/v1/usage/budget", json=raised)

    assert day == {
        "user_id": "usr_owner",
        "day": budgets.day_key("usr_owner")[-10:],
        "limit_usd": 1,
        "limit_tokens": None,
        **UNTOUCHED,
    }
    assert happened(run)["scope"] == "user_day"
    assert "PUT /v1/usage/budget" in happened(run)["raise"]
    assert by_owner.status_code == 403
    assert by_admin.json == day | {"limit_usd": 50} == owner.get("/v1/usage/budget").json


def test_a_day_of_nobody_has_no_budget(
    admin: FlaskClient, surroundings: Callable[..., None]
) -> None:
    surroundings(USER_DAILY_BUDGET_USD="1")

    answer = admin.put("/v1/usage/budget", json={"user_id": "usr_ownre", "budget_usd": 50})

    assert (answer.status_code, answer.json["detail"]) == (404, "User usr_ownre not found")
    assert Budget.select().count() == 0


def test_without_a_daily_budget_a_day_has_no_limit(owner: FlaskClient, admin: FlaskClient) -> None:
    day = owner.get("/v1/usage/budget").json
    raised = admin.put("/v1/usage/budget", json={"user_id": "usr_owner", "budget_usd": 1})

    assert raised.status_code == 409
    assert (day["limit_usd"], day["limit_tokens"], day["spent_usd"]) == (None, None, 0)


def test_the_same_request_gives_the_same_run_and_one_budget(owner: FlaskClient) -> None:
    body = {"pipeline_id": "bugfix", "task_description": "x", "budget_usd": 0.1}
    first, second = (
        owner.post("/v1/runs", json=body, headers={"Idempotency-Key": "k"}) for _ in range(2)
    )
    other = owner.post(
        "/v1/runs", json=body | {"budget_usd": 0.2}, headers={"Idempotency-Key": "k"}
    )

    assert first.json["id"] == second.json["id"]
    assert other.status_code == 409
    assert Budget.select().count() == 1


def test_an_executor_keeps_to_a_budget_as_other_runs_do(
    owner: FlaskClient, surroundings: Callable[..., None]
) -> None:
    surroundings(RUN_BUDGET_TOKENS="5000")
    planted(PROJECT, "T")
    order = {"agent_id": "yukihiro", "project_id": PROJECT, "task_id": "T"}
    order |= {"execution_prompt": "Go"}

    def budget_of(**limits: Any) -> Any:
        spawned = owner.post("/v1/spawn-executor/execute", json={**order, **limits}).json
        return owner.get(f"/v1/runs/{spawned['run_id']}").json["budget"]

    assert budget_of() == {**UNTOUCHED, "limit_usd": None, "limit_tokens": 5000}
    assert budget_of(budget_usd=2)["limit_usd"] == 2
    assert budget_of(budget_tokens=None) is None
    refusal = owner.post("/v1/spawn-executor/execute", json={**order, "budget_usd": 0})
    assert refusal.json["errors"][0]["loc"] == ["body", "budget_usd"]
