"""Budgets of real runs: whatever is asked, lost or asked again, no limit is passed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.processes.agents_at_work import CLAUDE, CUSTOM, OPENAI, Team, call, finish, team
from tests.processes.product import until
from tests.servers.provider import Answer

pytestmark = pytest.mark.slow

RATES = {OPENAI: (1.75e-6, 14e-6), CLAUDE: (3.75e-6, 15e-6)}  # US dollars a token, at most
HANDS = 16


@pytest.fixture(scope="module")
def crew(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    with team(tmp_path_factory.mktemp("budgets")) as started:
        yield started


def note(number: int, tokens: int = 15_000) -> Answer:
    """An answer that costs a lot and does a little."""
    line = call("bash", command=f"echo line {number} >> notes.txt")
    return Answer(text=(f"Note {number}.",), calls=(line,), tokens=(1_000, tokens))


def begin(crew: Team, model: str, *answers: Answer, **limits: Any) -> str:
    """A run within limits, answered like this."""
    crew.provider.answers(*answers)
    crew.provider.requests.clear()
    pipeline = crew.put(PIPELINE)
    return crew.product.run(pipeline, "the thing", model_override=model, **limits)


PIPELINE = """
id: spender
name: spender
agents: [{id: yukihiro, name: Yukihiro}]
steps:
  - {id: DO, agent: yukihiro, input: "Do it", outputs: [answer], maxRetries: 0}
"""


def paused(crew: Team, run_id: str, seconds: float = 60) -> dict[str, Any]:
    """The run, once its budget has paused it."""
    run: dict[str, Any] = {}

    def stands() -> bool:
        run.update(crew.product.get(f"/runs/{run_id}"))
        assert run["status"] in {"pending", "running", "paused"}, run["error"]
        return run["pause_reason"] == "budget_reached"

    until(stands, seconds)
    return run


def resume(crew: Team, run_id: str, **limits: Any) -> None:
    crew.product.post(f"/runs/{run_id}/resume", **limits)


@pytest.mark.parametrize("model", [OPENAI, CLAUDE])
def test_a_run_stops_at_its_limit_and_goes_on_when_that_is_raised(crew: Team, model: str) -> None:
    run_id = begin(crew, model, *[note(number) for number in range(1, 20)], budget_usd=1.0)

    run = paused(crew, run_id)

    asked = len(crew.provider.requests)
    assert 4 <= asked <= 12
    assert [call["cost_total"] > 0 for call in crew.calls(run)] == [True] * asked
    budget = run["budget"]
    assert 0.9 < budget["spent_usd"] <= budget["limit_usd"] == 1.0
    assert budget["spent_usd"] == pytest.approx(sum(c["cost_total"] for c in crew.calls(run)))
    assert budget["reserved_usd"] == budget["reserved_tokens"] == 0
    (reached,) = crew.told(run_id, "budget_reached")
    assert (reached["scope"], reached["limitUsd"]) == ("run", 1.0)
    assert reached["spentUsd"] + reached["needsUsd"] > 1.0
    assert f"/v1/runs/{run_id}/budget" in reached["raise"]

    crew.provider.answers(note(20), finish())
    resume(crew, run_id, budget_usd=3.0)
    ended = crew.product.ended(run_id)

    assert ended["status"] == "completed", ended["error"]
    assert len(crew.provider.requests) == asked + 2
    said = json.dumps(crew.provider.requests[-1].body["messages"])
    assert all(said.count(f"Note {number}.") == 1 for number in [*range(1, asked + 1), 20])
    lines = (crew.tree(ended) / "notes.txt").read_text().splitlines()
    assert lines == [f"line {number}" for number in [*range(1, asked + 1), 20]]


def test_resuming_without_more_money_pauses_again_without_asking(crew: Team) -> None:
    run_id = begin(crew, OPENAI, note(1), budget_tokens=19_000)
    paused(crew, run_id)
    asked = len(crew.provider.requests)

    resume(crew, run_id)
    until(lambda: len(crew.told(run_id, "budget_reached")) == 2)

    assert len(crew.provider.requests) == asked
    assert paused(crew, run_id)["budget"]["spent_tokens"] <= 19_000


def test_near_the_limit_answers_become_shorter_not_dearer(crew: Team) -> None:
    run_id = begin(crew, OPENAI, note(1, 500), budget_tokens=30_000)

    budget = paused(crew, run_id)["budget"]

    # the first question has not been counted by the model, so it has to be taken for a long one
    wanted = [sent.body["max_completion_tokens"] for sent in crew.provider.requests][1:]
    assert wanted == sorted(wanted, reverse=True)
    assert wanted[-1] < 3_000
    assert budget["spent_tokens"] <= 30_000


def test_a_model_nobody_knows_a_price_of_is_not_asked_within_dollars(crew: Team) -> None:
    run_id = begin(crew, CUSTOM, finish(), budget_usd=100.0)

    paused(crew, run_id)
    assert crew.provider.requests == []
    (reached,) = crew.told(run_id, "budget_reached")
    assert "Nobody knows what this model costs" in reached["raise"]

    crew.product.client.put(f"/v1/runs/{run_id}/budget", json={"budget_usd": None})
    resume(crew, run_id, budget_tokens=100_000)
    assert crew.product.ended(run_id)["status"] == "completed"


def test_a_limit_set_while_a_run_goes_on_holds_from_its_next_call(crew: Team) -> None:
    run_id = begin(crew, OPENAI, *[note(number) for number in range(1, 20)])
    until(lambda: len(crew.provider.requests) >= 3)

    crew.product.client.put(f"/v1/runs/{run_id}/budget", json={"budget_usd": 0.9})
    run = paused(crew, run_id)

    costs = [call["cost_total"] for call in crew.calls(run)]
    assert run["budget"]["spent_usd"] == pytest.approx(sum(costs))
    assert len(costs) == len(crew.provider.requests) < 19


def test_a_call_whose_worker_dies_counts_at_its_worst_and_others_go_on(crew: Team) -> None:
    hanging = Answer(text=("Well...", "no"), hang=1)
    run_id = begin(crew, OPENAI, hanging, budget_usd=1.0)
    until(lambda: len(crew.provider.requests) == 1)
    aside = crew.product.get(f"/runs/{run_id}")["budget"]["reserved_usd"]
    assert 0.4 < aside < 1.0

    crew.product.kill("agents")
    crew.provider.answers(finish())
    crew.product.start("agents")
    run = crew.product.ended(run_id)

    assert run["status"] == "completed", run["error"]
    (paid,) = [call["cost_total"] for call in crew.calls(run)]
    assert run["budget"]["spent_usd"] == pytest.approx(aside + paid, abs=1e-6)
    assert run["budget"]["reserved_usd"] == 0


def test_a_provider_that_refuses_costs_nothing(crew: Team) -> None:
    down = Answer(status=503, error={"message": "overloaded"}, headers={"Retry-After": "0"})
    run_id = begin(crew, OPENAI, down, down, finish(), budget_usd=0.6)

    run = crew.product.ended(run_id)

    assert run["status"] == "completed", run["error"]
    assert len(crew.provider.requests) == 3
    assert 0 < run["budget"]["spent_usd"] < 0.001


def test_an_answer_that_breaks_off_counts_at_its_worst(crew: Team) -> None:
    broken = Answer(text=("Well", "..."), cut=2)
    run_id = begin(crew, OPENAI, broken, finish(), budget_usd=1.0)

    run = crew.product.ended(run_id)

    assert run["status"] == "completed", run["error"]
    assert len(crew.provider.requests) == 2
    assert 0.4 < run["budget"]["spent_usd"] < 1.0
    assert run["budget"]["reserved_usd"] == 0


def test_a_cancelled_run_leaves_nothing_set_aside(crew: Team) -> None:
    run_id = begin(crew, OPENAI, Answer(text=("Well...", "no"), hang=1), budget_usd=1.0)
    until(lambda: len(crew.provider.requests) == 1)

    crew.product.post(f"/runs/{run_id}/cancel")

    def settled() -> bool:
        budget = crew.product.get(f"/runs/{run_id}")["budget"]
        return budget["reserved_usd"] == 0 and budget["spent_usd"] > 0

    until(settled, 10)


def test_many_runs_of_one_user_never_spend_more_than_the_day_allows(tmp_path: Path) -> None:
    """Thirty runs, sixteen at a time, 1.00 USD: counted where the money is taken."""
    with team(tmp_path, USER_DAILY_BUDGET_USD="1.00", WORKER_THREADS=str(HANDS)) as crew:
        crew.put(PIPELINE)
        hands = {"max_concurrent_steps": HANDS}
        crew.product.client.put("/v1/agents/yukihiro/config", json=hands).raise_for_status()
        crew.provider.answers(note(1, 900))
        runs = [
            crew.product.run("spender", f"thing {number}", model_override=OPENAI)
            for number in range(30)
        ]
        until(lambda: is_quiet(crew), 110, every=1.0)

        taken = sum(billed(request.body) for request in crew.provider.requests)
        day = crew.product.get("/usage/budget")
        states = [crew.product.get(f"/runs/{run_id}") for run_id in runs]

    assert 0.9 < taken <= 1.0
    assert day["spent_usd"] == pytest.approx(taken, abs=1e-6)
    assert day["reserved_usd"] == day["reserved_tokens"] == 0
    assert {(run["status"], run["pause_reason"]) for run in states} == {
        ("paused", "budget_reached")
    }


def billed(body: dict[str, Any]) -> float:
    """What the provider takes for a request, in US dollars."""
    return 936 * 1.75e-6 + 64 * 0.175e-6 + min(900, body["max_completion_tokens"]) * 14e-6


def is_quiet(crew: Team) -> bool:
    return not any(
        crew.product.get("/runs", status=status, limit=1) for status in ("pending", "running")
    )
