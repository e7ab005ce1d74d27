"""Agents over HTTP."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from flask.testing import FlaskClient

from models.base import db
from models.presence import presences
from models.principals import Principal
from tests.beginning import begun

Work = Callable[..., int]


def test_the_list_has_every_agent_by_id(owner: FlaskClient):
    agents = owner.get("/v1/agents/").json
    assert len(agents) == 11
    assert [agent["id"] for agent in agents] == sorted(agent["id"] for agent in agents)
    yukihiro = next(agent for agent in agents if agent["id"] == "yukihiro")
    assert yukihiro["name"] == "Yukihiro"
    assert "IDENTITY.md" in yukihiro["persona_files"]
    assert yukihiro["slack_connected"] is False
    assert yukihiro["memory_count"] == 0


def test_an_agent_shows_its_files(owner: FlaskClient):
    agent = owner.get("/v1/agents/eric").json
    assert agent["files"]["IDENTITY.md"].startswith("#")
    assert agent["soul_preview"] == agent["files"]["SOUL.md"][:500]
    assert owner.get("/v1/agents/none").json["detail"] == "Agent none not found"


def test_an_agent_knows_its_runs_and_strangers_do_not(
    owner: FlaskClient, stranger: FlaskClient, work: Work
):
    run = owner.post("/v1/runs", json={"pipeline_id": "bugfix", "task": "x"}).json["id"]
    work()
    (told,) = owner.get("/v1/agents/yukihiro/runs").json
    assert (told["run_id"], told["status"], len(told["step_ids"])) == (run, "completed", 1)
    assert stranger.get("/v1/agents/yukihiro/runs").json == []
    assert owner.get("/v1/agents/jim/runs").json == []


def test_some_settings_change_and_the_others_stay(admin: FlaskClient, owner: FlaskClient):
    change = {
        "model": "scripted/demo",
        "thinkingLevel": "high",
        "pulseEnabled": False,
        "coordination": {"wakeGuardrails": {"maxWakesPerDay": 3}},
        "stray": {"ignored": True},
    }
    told = admin.put("/v1/agents/eric/config", json=change).json
    assert told["status"] == "updated"
    assert told["config"]["thinking_level"] == "high"
    assert "stray" not in told["config"]
    config = owner.get("/v1/agents/eric/config").json
    assert (config["model"], config["pulseEnabled"]) == ("scripted/demo", False)
    rails = config["coordination"]["wakeGuardrails"]
    assert (rails["maxWakesPerDay"], rails["cooldownSeconds"]) == (3, 300)
    assert admin.put("/v1/agents/eric/config", json=config).status_code == 200


@pytest.mark.parametrize(
    "change",
    [
        {"thinkingLevel": "very"},
        {"threadMode": "loud"},
        {"pulseIntervalMinutes": 0},
        {"pulseIntervalMinutes": "30"},
        {"pulseEnabled": "yes"},
        {"maxRetries": True},
        {"pulseColumns": "todo"},
        {"coordination": {"wakeGuardrails": {"cooldownSeconds": -1}}},
        {"model": None},
    ],
)
def test_settings_of_the_wrong_kind_are_422(admin: FlaskClient, change: dict):
    answer = admin.put("/v1/agents/eric/config", json=change)
    assert answer.status_code == 422
    assert answer.json["errors"][0]["loc"][1] == next(iter(change))


def test_a_persona_file_is_replaced_and_renames_the_agent(admin: FlaskClient, owner: FlaskClient):
    text = "- **Name:** Ada\n- **Role:** Analyst\n"
    told = admin.put("/v1/agents/eric/files/IDENTITY.md", json={"content": text}).json
    assert told == {"status": "updated", "filename": "IDENTITY.md", "size": len(text)}
    agent = owner.get("/v1/agents/eric").json
    assert (agent["name"], agent["role"]) == ("Ada", "Analyst")
    wrong = admin.put("/v1/agents/eric/files/config.yml", json={"content": "x"})
    assert wrong.status_code == 400


def test_an_identity_that_is_too_long_is_cut_for_lists_and_kept_in_its_file(admin: FlaskClient):
    text = f"- **Name:** {'x' * 300}\n- **Emoji:** {'y' * 50}\n- **Role:** {'z' * 300}\n"
    answer = admin.put("/v1/agents/eric/files/IDENTITY.md", json={"content": text})
    assert answer.status_code == 200
    agent = admin.get("/v1/agents/eric").json
    assert (len(agent["name"]), len(agent["emoji"]), len(agent["role"])) == (256, 32, 256)
    assert agent["files"]["IDENTITY.md"] == text


def test_agents_are_seen_at_work_by_those_who_may(
    owner: FlaskClient, stranger: FlaskClient, work: Work
):
    run = owner.post("/v1/runs", json={"pipeline_id": "bugfix", "task": "x"}).json["id"]
    begun(run)
    told = owner.get("/v1/agents/status").json
    eric = next(agent for agent in told["agents"] if agent["id"] == "yukihiro")
    assert (eric["state"], eric["queueLength"]) == ("idle", 1)
    assert told["summary"]["totalQueued"] == 1
    assert stranger.get("/v1/agents/status").json["summary"]["totalQueued"] == 0
    queue = owner.get("/v1/agents/yukihiro/queue").json
    assert queue["totalItems"] == queue["length"] == 1
    assert queue["items"][0]["runId"] == run
    assert queue["items"][0]["priority"] == "normal"
    assert stranger.get("/v1/agents/yukihiro/queue").json["items"] == []


def test_what_agents_cannot_do_yet_reads_as_empty(owner: FlaskClient):
    assert owner.get("/v1/agents/eric/projects/").json == []
    woken = owner.get("/v1/agents/eric/wake-stats").json
    assert (woken["maxDailySessionMinutes"], woken["sessionMinutesToday"]) == (120, 0)
    assert (woken["agentId"], woken["wakesToday"], woken["lastWakeTime"]) == ("eric", 0, None)
    (day,) = db.execute_sql("SELECT (now() AT TIME ZONE 'UTC')::date::text").fetchone()
    assert woken["date"] == day
    assert woken["maxWakesPerDay"] > 0
    pulse = owner.get("/v1/agents/eric/pulse/status").json
    assert (pulse["lastPulse"], pulse["checks"]["inbox"]) == (None, False)
    for path in ("projects", "wake-stats", "pulse/status", "work-ledger", "queue"):
        answer = owner.get(f"/v1/agents/none/{path}")
        assert (answer.status_code, answer.json["detail"]) == (404, "Agent none not found")


def test_one_agents_status_has_all_of_the_agent(owner: FlaskClient, work: Work):
    owner.post("/v1/runs", json={"pipeline_id": "bugfix", "task": "x"})
    work()
    told = owner.get("/v1/agents/yukihiro/status").json
    assert (told["status"], told["active_steps"], told["current_run"]) == ("idle", [], None)
    assert told["last_seen"] > 0
    assert told["name"] == "Yukihiro"


def test_an_agent_was_last_seen_in_its_latest_session_and_no_other_is_read(
    owner: FlaskClient, stranger: FlaskClient, caplog: pytest.LogCaptureFixture
):
    with db.connection_context(), caplog.at_level("DEBUG", "peewee"):
        db.execute_sql(
            """
            INSERT INTO sessions (id, state, agent_id, source, owner_id, turn_count,
                created_at, updated_at, completed_at)
            SELECT 'ses_' || place, 'completed', 'eric', 'chat', 'usr_owner', 0,
                place, place, place + 1
            FROM generate_series(1, 500) AS place
            """
        )
        db.execute_sql("ANALYZE sessions")
        admin = Principal("usr_admin", "admin", is_admin=True)
        assert presences(admin, ["eric", "finn"])["eric"].last_active == 501
        ((sql, params),) = [each.msg for each in caplog.records if '"sessions"' in str(each.msg)]
        plan = [line for (line,) in db.execute_sql(f"EXPLAIN ANALYZE {sql}", params)]
    (read,) = [line for line in plan if "sessions_agent_id_created_at_id" in line]
    assert re.search(r"rows=[01](\.5\d*)? loops=2", read.rpartition("actual")[2]), plan
    assert owner.get("/v1/agents/eric/status").json["last_seen"] == 501
    assert stranger.get("/v1/agents/eric/status").json["last_seen"] is None


def test_agents_come_in_pages(owner: FlaskClient):
    first = owner.get("/v1/agents?limit=4")
    assert [row["id"] for row in first.json] == ["chieko", "eric", "finn", "grace"]
    assert first.headers["X-Total-Count"] == "11"
    following = first.headers["Link"].split("<")[1].split(">")[0]
    assert [row["id"] for row in owner.get(following).json][:2] == ["holt", "jim"]
    assert owner.get("/v1/agents?limit=0").json == []
