"""Routines over HTTP: both addresses, every field, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from flask.testing import FlaskClient

from models import processes, runs
from models.base import db
from models.routines import COLORS, MOST, Firing, Routine
from models.runs import Run
from tests.processes.product import scripted

ERIC = "/v1/pulse-routines/eric"
ALIAS = "/v1/agents/eric/pulse-routines"
NIGHT = {"type": "recurring", "label": "Night", "startTime": "22:00", "endTime": "06:00"}
FULL: dict[str, Any] = {
    "name": "Morning round",
    "description": "Looks at the board",
    "instructions": "You are {{AGENT_NAME}}. Look at the board.",
    "enabled": True,
    "intervalMinutes": 60,
    "offsetMinutes": 5,
    "timezone": "Europe/Berlin",
    "blackouts": [NIGHT],
    "oneOffs": ["2099-12-24T18:00"],
    "timeoutMs": 60_000,
    "maxConcurrent": 2,
    "pulseColumns": ["Ready"],
    "planningModel": "scripted/demo",
    "executorModel": "scripted/demo",
    "executorTimeoutSec": 60,
    "tools": ["get_ready_tasks", "claim_task"],
    "stageAffinity": ["review"],
    "taskWorkTypes": ["bugfix"],
    "color": "#123456",
}
Work = Callable[..., int]


def made(client: FlaskClient, path: str = ERIC, **form: Any) -> dict[str, Any]:
    answer = client.post(path, json={"name": "Morning round", **form})
    assert answer.status_code == 201, answer.json
    return dict(answer.json)


def test_a_routine_is_what_was_said_under_both_addresses(owner: FlaskClient):
    routine = made(owner, **FULL)
    assert {name: routine[name] for name in FULL} == FULL
    assert (routine["agentId"], routine["totalRuns"], routine["lastRunAt"]) == ("eric", 0, None)
    for path in (ERIC, f"{ERIC}/", ALIAS, f"{ALIAS}/"):
        assert owner.get(path).json == {"routines": [routine]}
        one = path.rstrip("/") + f"/{routine['id']}"
        assert owner.get(one).json == routine


def test_what_is_not_said_has_its_default_and_colours_go_round(owner: FlaskClient):
    shown = [made(owner, name=f"Round {number}") for number in range(len(COLORS) + 1)]
    assert [each["color"] for each in shown] == [*COLORS, COLORS[0]]
    assert [each["sortOrder"] for each in shown] == list(range(len(shown)))
    first = shown[0]
    usual = (first["intervalMinutes"], first["offsetMinutes"], first["maxConcurrent"])
    assert usual == (30, 0, 1)
    assert (first["enabled"], first["timezone"], first["tools"]) == (True, "UTC", None)


def test_null_clears_what_may_be_empty_and_leaves_the_rest(owner: FlaskClient):
    path = f"{ALIAS}/{made(owner, **FULL)['id']}"
    after = owner.put(path, json=dict.fromkeys(FULL)).json
    cleared = {name for name in FULL if after[name] is None}
    assert cleared == {
        *("description", "timeoutMs", "pulseColumns", "planningModel", "executorModel"),
        *("executorTimeoutSec", "tools", "stageAffinity", "taskWorkTypes", "color"),
    }
    assert after["name"] == FULL["name"]
    emptied = {"planningModel": "", "tools": []}
    owner.put(path, json={"planningModel": "a/b", "tools": ["ls"]})
    after = owner.put(path, json=emptied).json
    assert (after["planningModel"], after["tools"]) == (None, None)


@pytest.mark.parametrize(
    ("form", "field"),
    [
        ({"name": ""}, "name"),
        ({"name": "x" * 257}, "name"),
        ({"intervalMinutes": 0}, "intervalMinutes"),
        ({"intervalMinutes": 10_081}, "intervalMinutes"),
        ({"intervalMinutes": 30, "offsetMinutes": 30}, "offsetMinutes"),
        ({"timezone": "Mars/Base"}, "timezone"),
        ({"timezone": "../../etc/passwd"}, "timezone"),
        ({"oneOffs": ["soon"]}, "oneOffs"),
        ({"oneOffs": ["2026-01-01"] * 101}, "oneOffs"),
        ({"blackouts": [{"type": "weekly"}]}, "blackouts"),
        ({"blackouts": [{**NIGHT, "endTime": "22:00"}]}, "blackouts"),
        ({"blackouts": [{**NIGHT, "startTime": "24:00"}]}, "blackouts"),
        ({"blackouts": [{**NIGHT, "daysOfWeek": [7]}]}, "blackouts"),
        ({"blackouts": [{"type": "one-off", "start": "2026-02-01"}]}, "blackouts"),
        ({"maxConcurrent": 11}, "maxConcurrent"),
        ({"executorTimeoutSec": 29}, "executorTimeoutSec"),
        ({"instructions": "x" * 24_001}, "instructions"),
        ({"tools": ["x"] * 101}, "tools"),
        ({"enabled": "yes"}, "enabled"),
    ],
)
def test_what_makes_no_sense_is_refused_by_its_name(
    owner: FlaskClient, form: dict[str, Any], field: str
):
    routine = made(owner)
    for answer in (
        owner.post(ERIC, json={"name": "Other", **form}),
        owner.put(f"{ERIC}/{routine['id']}", json=form),
    ):
        assert answer.status_code == 422, answer.json
        assert field in answer.json["errors"][0]["loc"]
    assert owner.get(ERIC).json == {"routines": [routine]}


def test_a_change_is_judged_by_what_the_routine_is_then(owner: FlaskClient):
    path = f"{ERIC}/{made(owner, intervalMinutes=60, offsetMinutes=45)['id']}"
    answer = owner.put(path, json={"intervalMinutes": 30})
    assert answer.status_code == 422
    assert owner.get(path).json["intervalMinutes"] == 60


def test_names_are_taken_once_and_routines_have_a_limit(owner: FlaskClient, teammate: FlaskClient):
    made(owner)
    assert owner.post(ERIC, json={"name": "Morning round"}).status_code == 409
    made(teammate)
    other = made(owner, name="Other")
    clash = owner.put(f"{ERIC}/{other['id']}", json={"name": "Morning round"})
    assert clash.status_code == 409
    made(owner, path="/v1/pulse-routines/finn")
    with db.connection_context():
        routine = Routine.get_by_id(other["id"])
        for number in range(MOST - 2):
            fields = {**routine.__data__, "id": f"pr_{number}", "name": f"Round {number}"}
            Routine(**fields).add()
    assert owner.post(ERIC, json={"name": "One too many"}).status_code == 409


def test_a_routine_is_its_owners_and_no_other_agents(
    owner: FlaskClient, stranger: FlaskClient, admin: FlaskClient
):
    routine = made(owner)
    assert stranger.get(ERIC).json == {"routines": []}
    foreign, typo = stranger.get(f"{ERIC}/{routine['id']}"), stranger.get(f"{ERIC}/pr_typo")
    assert (foreign.status_code, typo.status_code) == (404, 404)
    assert foreign.json["detail"].replace(routine["id"], "pr_typo") == typo.json["detail"]
    assert admin.get(ERIC).json["routines"][0]["id"] == routine["id"]
    assert owner.get(f"/v1/pulse-routines/finn/{routine['id']}").status_code == 404
    unknown = owner.get("/v1/pulse-routines/nobody")
    assert (unknown.status_code, unknown.json["detail"]) == (404, "Agent nobody not found")


def test_toggle_duplicate_reorder_and_delete(owner: FlaskClient):
    first = made(owner, **FULL)
    path = f"{ERIC}/{first['id']}"
    assert owner.patch(f"{path}/toggle").json == {"id": first["id"], "enabled": False}
    assert owner.patch(f"{path}/toggle/").json == {"id": first["id"], "enabled": True}
    copies = [owner.post(f"{path}/duplicate").json for _ in range(2)]
    assert [copy["name"] for copy in copies] == [
        f"{FULL['name']} (copy)",
        f"{FULL['name']} (copy) 2",
    ]
    kept = FULL.keys() - {"name", "enabled", "oneOffs", "color"}
    assert {name: copies[0][name] for name in kept} == {name: FULL[name] for name in kept}
    assert (copies[0]["enabled"], copies[0]["oneOffs"]) == (False, [])
    order = [copies[1]["id"], first["id"], copies[0]["id"]]
    assert owner.post(f"{ALIAS}/reorder", json={"routineIds": order}).json["status"] == "reordered"
    assert [each["id"] for each in owner.get(ERIC).json["routines"]] == order
    for wrong in (order[:2], [*order, order[0]], [*order[:2], "pr_other"]):
        assert owner.post(f"{ERIC}/reorder", json={"routineIds": wrong}).status_code == 422
    assert owner.delete(path).json == {"status": "deleted", "id": first["id"]}
    assert owner.delete(path).status_code == 404


def test_what_is_triggered_is_followed_by_a_session_that_ends_by_itself(
    owner: FlaskClient, work: Work
):
    say = scripted("Look around", PULSE=[{"text": "I looked, and all is well."}])
    routine = made(owner, instructions=say)
    path = f"{ERIC}/{routine['id']}"
    assert owner.post(f"{path}/trigger").status_code == 503
    with db.connection_context():
        processes.register("worker", ["short"])
    answer = owner.post(f"{path}/trigger")
    told = {"status": "triggered", "routineId": routine["id"], "routineName": "Morning round"}
    assert (answer.status_code, answer.json) == (202, told)
    work()
    (session,) = owner.get("/v1/sessions").json["sessions"]
    assert (session["source"], session["status"], session["agent_id"]) == (
        "pulse",
        "completed",
        "eric",
    )
    after = owner.get(path).json
    assert after["totalRuns"] == 1
    assert after["lastRunAt"] > 0
    timeline = owner.get("/v1/agents/eric/activity").json["timeline"]
    done = next(entry["data"] for entry in timeline if entry["type"] == "pulse_complete")
    assert done["summary"] == "I looked, and all is well."
    status = owner.get("/v1/agents/eric/pulse/status").json
    assert status["lastPulse"]["timestamp"] == after["lastRunAt"]
    assert status["nextPulse"] == after["nextLookAt"]
    shown = {each["id"]: each for each in owner.get("/v1/agents/status").json["agents"]}
    assert shown["eric"]["lastPulse"] == after["lastRunAt"]
    assert owner.get("/v1/runs").json == []


def test_the_engine_counts_what_was_run_elsewhere(owner: FlaskClient, engine: FlaskClient):
    routine = made(owner)
    path = f"/v1/pulse-routines/{routine['id']}/record-run"
    assert owner.post(path).status_code == 403
    told = engine.post(path).json
    after = owner.get(f"{ERIC}/{routine['id']}").json
    assert told == {
        "status": "recorded",
        "routineId": routine["id"],
        "lastRunAt": after["lastRunAt"],
    }
    assert after["totalRuns"] == 1


def test_the_timeline_tells_what_comes_and_who_gets_in_whose_way(
    owner: FlaskClient, stranger: FlaskClient
):
    for agent in ("eric", "finn", "grace", "chieko"):
        made(owner, path=f"/v1/pulse-routines/{agent}", intervalMinutes=720)
    made(owner, path="/v1/pulse-routines/stas", intervalMinutes=720, offsetMinutes=60)
    made(owner, name="Off", enabled=False)
    told = owner.get("/v1/pulses/timeline").json
    assert told["summary"]["totalPulses"] == len(told["pulses"]) == 10
    assert told["summary"]["byAgent"]["eric"] == 2
    assert told["summary"]["conflictCount"] == len(told["conflicts"]) == 2
    (clash, _) = told["conflicts"]
    assert clash["severity"] == "critical"
    assert {each["agentId"] for each in clash["agents"]} == {"eric", "finn", "grace", "chieko"}
    first = told["pulses"][0]
    assert first["scheduledAt"] > told["windowStart"]
    assert (first["source"], first["status"]) == ("recurring", "scheduled")
    assert stranger.get("/v1/pulses/timeline").json["pulses"] == []
    assert owner.get("/v1/pulses/timeline?hours=169").status_code == 422


def test_a_timeline_that_would_be_too_long_ends_earlier(owner: FlaskClient):
    made(owner, intervalMinutes=1)
    told = owner.get("/v1/pulses/timeline?hours=168").json
    assert len(told["pulses"]) == 2_000
    assert told["windowEnd"] - told["windowStart"] < 2_002 * 60_000


def test_a_pulse_that_is_deleted_with_its_routine_is_stopped(owner: FlaskClient, work: Work):
    routine = made(owner)
    with db.connection_context():
        processes.register("worker", ["short"])
    path = f"{ERIC}/{routine['id']}"
    owner.post(f"{path}/trigger")
    work(1)
    owner.delete(path)
    with db.connection_context():
        assert Run.get().state == runs.CANCELLED
        assert Firing.get().state == "cancelled"
