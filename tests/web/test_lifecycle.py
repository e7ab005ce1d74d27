"""Timelines and sessions over HTTP."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from flask.testing import FlaskClient

from models.sessions import Session
from tests.beginning import begun

Work = Callable[..., int]


@pytest.fixture
def run(owner: FlaskClient, work: Work) -> str:
    run_id = owner.post("/v1/runs", json={"pipeline_id": "bugfix", "task": "x"}).json["id"]
    work()
    return run_id


def test_the_timeline_merges_all_agents_newest_first(owner: FlaskClient, run: str):
    told = owner.get("/v1/lifecycle/timeline").json
    kinds = [(entry["agentId"], entry["type"]) for entry in told["timeline"]]
    assert kinds[0] == ("chieko", "session_completed")
    assert kinds[-1] == ("yukihiro", "work_started")
    assert told["hasMore"] is False
    some = owner.get("/v1/lifecycle/timeline?agent_id=yukihiro,eric&type=work_started&limit=1")
    assert [entry["agentId"] for entry in some.json["timeline"]] == ["yukihiro"]
    assert owner.get("/v1/lifecycle/timeline?limit=1").json["hasMore"] is True


def test_agents_are_named_in_one_list_or_one_by_one(owner: FlaskClient, run: str):
    for query in ("agent_id=yukihiro,chieko", "agent_id=yukihiro&agent_id=chieko"):
        told = owner.get(f"/v1/lifecycle/timeline?{query}").json["timeline"]
        assert {entry["agentId"] for entry in told} == {"yukihiro", "chieko"}
    told = owner.get("/v1/sessions?agent_ids=eric&agent_ids=chieko").json
    assert told["total"] == 1


def test_the_timeline_shows_strangers_nothing(stranger: FlaskClient, run: str):
    assert stranger.get("/v1/lifecycle/timeline").json["timeline"] == []


def test_an_agents_activity_goes_on_after_a_moment(owner: FlaskClient, run: str):
    told = owner.get("/v1/agents/yukihiro/activity").json
    assert told["resourceUsage"]["memory"]["unit"] == "MB"
    oldest = told["timeline"][-1]
    later = owner.get(f"/v1/agents/yukihiro/activity?since={oldest['timestamp'] - 1}&limit=2").json
    assert later["timeline"][-1] == oldest
    assert len(later["timeline"]) == 2


def test_an_agents_week_is_counted(owner: FlaskClient, run: str):
    told = owner.get("/v1/agents/yukihiro/activity/stats").json
    assert (told["sessionsToday"], told["sessionsThisWeek"], told["errorCount"]) == (1, 1, 0)
    assert told["totalTokens"] > 0


def test_an_agents_lifecycle_says_what_it_does(owner: FlaskClient, run: str):
    told = owner.get("/v1/agents/yukihiro/lifecycle").json
    assert (told["state"], told["queueDepth"], told["currentWork"]) == ("idle", 0, None)
    assert told["pulse"]["intervalMs"] > 0


def test_sessions_are_listed_without_their_output(owner: FlaskClient, run: str):
    told = owner.get("/v1/sessions").json
    assert told["total"] == 2
    assert {session["status"] for session in told["sessions"]} == {"completed"}
    assert "output" not in told["sessions"][0]
    assert all(session["turn_count"] > 0 for session in told["sessions"])
    assert owner.get("/v1/lifecycle/sessions").json["sessions"] == []
    done = owner.get("/v1/lifecycle/sessions?status=completed,failed&agent_ids=chieko").json
    assert done["total"] == 1
    assert owner.get("/v1/agents/chieko/sessions?limit=1").json["total"] == 1
    assert owner.get("/v1/sessions?status=asleep").status_code == 422


def test_a_session_tells_what_happened_in_it(owner: FlaskClient, run: str):
    session = owner.get("/v1/agents/yukihiro/sessions").json["sessions"][0]["id"]
    told = owner.get(f"/v1/sessions/{session}").json
    kinds = [event["event_type"] for event in told["events"]]
    assert {"tool_start", "tool_end", "turn_end"} <= set(kinds)
    assert told["run_id"] == run


def test_a_session_that_is_over_cannot_be_stopped(owner: FlaskClient, run: str):
    session = Session.select().first().id
    assert owner.post(f"/v1/sessions/{session}/stop").status_code == 400
    assert owner.post("/v1/sessions/none/stop").status_code == 404


def test_stopping_a_session_cancels_its_run(owner: FlaskClient, work: Work):
    run = owner.post("/v1/runs", json={"pipeline_id": "bugfix", "task": "x"}).json["id"]
    begun(run)
    session = Session.create(state="running", agent_id="yukihiro", run_id=run, owner_id="usr_owner")
    told = owner.post(f"/v1/sessions/{session.id}/stop").json
    assert told["status"] == "stopped"
    assert owner.get(f"/v1/runs/{run}").json["status"] == "cancelled"
