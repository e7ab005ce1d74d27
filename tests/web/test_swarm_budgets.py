"""What the executors of a swarm may spend together, and what becomes of it when that is reached."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from flask.testing import FlaskClient

from models import base, runs, spending, swarms
from models.runs import Run
from models.spending import Amount, Busy, Granted
from models.swarms import Swarm
from tasks import swarms as commands
from tests.conftest import PROJECT
from tests.web.boards import planted
from tests.web.test_budgets import UNTOUCHED, happened, refused

TASK = {
    "key": "A",
    "title": "Go",
    "project_id": PROJECT,
    "task_id": "T",
    "execution_prompt": "Go",
}


@pytest.fixture(autouse=True)
def board(owner: FlaskClient) -> None:
    planted(PROJECT, "T", "TA", "TB")


def reserved(run_id: str, usd: str) -> Any:
    """What a call of the run hears that may cost so much."""
    with base.db.atomic():
        run = Run.locked(run_id)
        assert run is not None
        return spending.reserve(run, f"exec_{run_id}", Amount(Decimal(usd), 9))


def settled(run_id: str, usd: str) -> None:
    """The run's call has cost so much."""
    with base.db.atomic():
        run = Run.locked(run_id)
        assert run is not None
        spending.settle(run, f"exec_{run_id}", Amount(Decimal(usd), 9))


def test_the_executors_of_a_swarm_share_its_budget(
    owner: FlaskClient, stranger: FlaskClient, work: Callable[..., int]
) -> None:
    tasks = [{**TASK, "key": key, "task_id": f"T{key}"} for key in "AB"]
    body = {"agent_id": "yukihiro", "tasks": tasks, "budget_usd": 1}
    swarm = owner.post("/v1/swarm/execute", json=body).json["swarm_id"]
    work(1)
    first, second = (task["run_id"] for task in owner.get(f"/v1/swarm/{swarm}/tasks").json)
    for run_id in (first, second):
        Run.get_by_id(run_id).move(runs.RUNNING)

    assert reserved(first, "0.6") == Granted()
    assert reserved(second, "0.6") == Busy()
    settled(first, "0.6")
    refused(second, "0.6")

    state = owner.get(f"/v1/swarm/{swarm}").json
    spent = {"spent_usd": 0.6, "spent_tokens": 9}
    assert state["budget"] == {**UNTOUCHED, "limit_usd": 1, "limit_tokens": None, **spent}
    assert [task["pause_reason"] for task in state["tasks"]] == [None, "budget_reached"]
    told = happened(second)
    assert (told["scope"], told["of"]) == ("swarm", swarm)
    assert f"PUT /v1/swarm/{swarm}/budget" in told["raise"]
    path = f"/v1/internal/swarm/{swarm}/budget"
    assert stranger.put(path, json={"budget_usd": 9}).status_code == 404
    assert owner.put(path, json={"budget_usd": 1.2}).json["limit_usd"] == 1.2
    assert reserved(second, "0.6") == Granted()


def test_a_limit_of_a_swarm_set_late_counts_from_the_beginning(
    owner: FlaskClient, work: Callable[..., int]
) -> None:
    body = {"agent_id": "yukihiro", "tasks": [TASK]}
    swarm = owner.post("/v1/swarm/execute", json=body).json["swarm_id"]
    path = f"/v1/swarm/{swarm}"
    work()
    assert owner.get(path).json["budget"] is None
    nothing = {"limit_usd": None, "limit_tokens": None}
    assert owner.put(f"{path}/budget", json={}).json == {**UNTOUCHED, **nothing}
    assert owner.put(f"{path}/budget", json={"budget_tokens": 9}).json["spent_tokens"] > 9
    assert owner.get(path).json["budget"]["limit_tokens"] == 9


def test_a_swarm_waits_for_paused_executors_no_longer_than_its_deadline(
    owner: FlaskClient, work: Callable[..., int]
) -> None:
    body = {"agent_id": "yukihiro", "tasks": [TASK], "budget_tokens": 100}
    swarm = owner.post("/v1/swarm/execute", json=body).json["swarm_id"]
    work()
    (task,) = owner.get(f"/v1/swarm/{swarm}/tasks").json
    assert (task["status"], task["pause_reason"]) == ("running", "budget_reached")
    executor = f"/v1/spawn-executor/{task['run_id']}"
    told = owner.get(executor).json
    assert (told["status"], told["pause_reason"]) == ("paused", "budget_reached")

    Swarm.update(deadline=swarms.database_ms()).where(Swarm.id == swarm).execute()
    commands.sweep(-1)
    work()

    state = owner.get(f"/v1/swarm/{swarm}").json
    assert (state["status"], state["error"]) == ("failed", "global timeout")
    assert (state["tasks"][0]["status"], state["tasks"][0]["pause_reason"]) == ("cancelled", None)
    assert owner.get(executor).json["status"] == "cancelled"
