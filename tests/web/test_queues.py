"""What waits for agents over HTTP."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from flask.testing import FlaskClient

from models.agents import Agent
from models.base import db
from models.runs import Run
from models.steps import Step
from tests.beginning import begun

Work = Callable[..., int]


@pytest.fixture
def item(owner: FlaskClient, run: str, work: Work) -> str:
    """A step that waits for Yukihiro."""
    begun(run)
    (waiting,) = owner.get("/v1/agents/yukihiro/queue").json["items"]
    assert waiting["runId"] == run
    return waiting["id"]


def withdrawn(client: FlaskClient, item: str) -> bool:
    answer = client.post("/v1/agents/yukihiro/queue/cancel", json={"itemId": item})
    assert answer.status_code == 200
    return answer.json["cancelled"]


def test_taking_a_step_out_of_the_queue_cancels_its_run(owner: FlaskClient, run: str, item: str):
    assert withdrawn(owner, item) is True
    assert owner.get(f"/v1/runs/{run}").json["status"] == "cancelled"
    assert owner.get("/v1/agents/yukihiro/queue").json["length"] == 0
    assert withdrawn(owner, item) is False


def test_the_item_may_stand_in_the_address(owner: FlaskClient, run: str, item: str):
    assert owner.delete(f"/v1/agents/yukihiro/queue/{item}").json == {"cancelled": True}
    assert owner.delete(f"/v1/agents/yukihiro/queue/{item}/").json == {"cancelled": False}


def test_what_others_wait_for_stays(owner: FlaskClient, stranger: FlaskClient, run: str, item: str):
    assert withdrawn(stranger, item) is False
    assert stranger.delete(f"/v1/agents/yukihiro/queue/{item}").json == {"cancelled": False}
    cleared = stranger.post("/v1/agents/yukihiro/queue/clear", json={"confirm": True})
    assert cleared.json == {"cleared": 0}
    assert owner.get(f"/v1/runs/{run}").json["status"] == "running"


def test_a_queue_is_cleared_only_by_those_who_mean_it(owner: FlaskClient, run: str, item: str):
    for careless in ({}, {"confirm": False}, {"confirm": "true"}):
        answer = owner.post("/v1/agents/yukihiro/queue/clear", json=careless)
        assert answer.status_code == 422
    cleared = owner.post("/v1/agents/yukihiro/queue/clear", json={"confirm": True})
    assert cleared.json == {"cleared": 1}
    assert owner.get(f"/v1/runs/{run}").json["status"] == "cancelled"


def test_the_ledger_names_what_an_agent_has_in_hand(
    owner: FlaskClient, stranger: FlaskClient, run: str, item: str
):
    assert owner.get("/v1/agents/yukihiro/work-ledger").json["count"] == 0
    with db.atomic():
        Run.locked(run)
        assert Step.get_by_id(item).claim(Agent.get_by_id("yukihiro").concurrent_steps)
    told = owner.get("/v1/agents/yukihiro/work-ledger").json
    (lock,) = told["locks"]
    assert (told["agentId"], told["count"], lock["key"]) == ("yukihiro", 1, f"{run}/FIX")
    assert 0 <= lock["remainingSeconds"] <= lock["ttlSeconds"]
    assert stranger.get("/v1/agents/yukihiro/work-ledger").json["locks"] == []


def test_a_planner_that_waits_for_others_is_at_work_and_in_no_queue(
    owner: FlaskClient, run: str, item: str
):
    with db.atomic():
        Run.locked(run)
        step = Step.get_by_id(item)
        step.claim(Agent.get_by_id("yukihiro").concurrent_steps)
        step.move("waiting", waits_for="swarm_1")
    assert owner.get("/v1/agents/yukihiro/queue").json["items"] == []
    assert owner.get("/v1/agents/yukihiro/work-ledger").json["locks"] == []  # no worker has it
    shown = {agent["id"]: agent for agent in owner.get("/v1/agents/status").json["agents"]}
    yukihiro = shown["yukihiro"]
    assert (yukihiro["state"], yukihiro["queueLength"]) == ("working", 0)
    assert yukihiro["currentWork"] == {"step": "FIX", "runId": run}
    lifecycle = owner.get("/v1/agents/yukihiro/lifecycle").json
    assert (lifecycle["state"], lifecycle["queueDepth"]) == ("working", 0)
    assert lifecycle["currentWork"]["stepType"] == "pipeline"
    assert owner.get("/v1/agents/yukihiro/status").json["active_steps"] == ["FIX"]


def test_a_paused_run_is_in_no_queue(owner: FlaskClient, run: str, item: str):
    assert owner.get("/v1/agents/yukihiro/lifecycle").json["queueDepth"] == 1
    owner.post(f"/v1/runs/{run}/pause")
    assert owner.get("/v1/agents/yukihiro/queue").json["items"] == []
    assert owner.get("/v1/agents/yukihiro/lifecycle").json["queueDepth"] == 0
