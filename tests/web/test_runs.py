"""Runs over HTTP, from the request to the files."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from models.pipelines import Pipeline
from tests.beginning import begun

Work = Callable[..., int]
SCRIPT = """Mend the login.
```scripted
{plays}
```"""


Ask = Callable[..., dict[str, Any]]


def test_a_run_goes_from_the_request_to_its_outputs(ask: Ask, owner: FlaskClient, work: Work):
    run = ask(human_context="The clock is wrong")
    assert (run["status"], run["task_description"]) == ("pending", "Mend the login")
    work()
    told = owner.get(f"/v1/runs/{run['id']}").json
    assert told["status"] == "completed"
    assert told["scripted"] is True
    assert [step["status"] for step in told["steps"]] == ["completed", "completed"]
    assert [step["step_id"] for step in told["steps"]] == ["FIX", "VALIDATE"]
    assert told["outputs"]["validation_result"] == "PASS"
    assert owner.get(f"/v1/runs/{run['id']}/outputs").json == told["outputs"]
    assert told["workspace_exists"] and told["workspace_has_git"]
    assert Path(told["workspace_path"], ".djinn", "progress.md").is_file()
    assert told["initiated_by_user_id"] == told["key_user_id"] == "usr_owner"


def test_a_run_can_be_read_the_moment_it_was_asked_for(ask: Ask, owner: FlaskClient):
    run = ask()
    told = owner.get(f"/v1/runs/{run['id']}").json
    assert told["id"] == run["id"]
    assert [step["status"] for step in told["steps"]] == ["pending", "pending"]
    assert told["workspace_exists"] is False


@pytest.mark.parametrize(
    "names",
    [
        {"task_description": "right", "human_context": "right"},
        {"task": "right", "context": "right"},
        {"task": "x", "context": "x", "task_description": "right", "human_context": "right"},
    ],
)
def test_older_key_names_work_and_the_reference_names_win(owner: FlaskClient, names: dict):
    run = owner.post("/v1/runs/", json={"pipeline_id": "bugfix", **names, "stray": 1}).json
    assert (run["task"], run["human_context"]) == ("right", "right")


@pytest.mark.parametrize(
    ("body", "place", "kind"),
    [
        ({"pipeline_id": "bugfix"}, ["body", "task_description"], "missing"),
        ({"pipeline_id": "bugfix", "task": " \n"}, ["body", "task_description"], "invalid"),
        ({"pipeline_id": "bugfix", "task": 7}, ["body", "task_description"], "invalid"),
        ({"pipeline_id": "bugfix", "task": "x" * 200_001}, ["body", "task_description"], "invalid"),
        ({"task": "x"}, ["body", "pipeline_id"], "missing"),
        ({"pipeline_id": ["bugfix"], "task": "x"}, ["body", "pipeline_id"], "invalid"),
        (["not", "an", "object"], ["body"], "invalid"),
    ],
)
def test_a_bad_request_names_the_field(owner: FlaskClient, body: Any, place: list, kind: str):
    answer = owner.post("/v1/runs", json=body)
    assert answer.status_code == 422
    fault = answer.json["errors"][0]
    assert (fault["loc"], fault["type"]) == (place, kind)
    assert isinstance(answer.json["detail"], str)


def test_unknown_pipelines_and_projects_are_404(owner: FlaskClient):
    answer = owner.post("/v1/runs", json={"pipeline_id": "none", "task": "x"})
    assert (answer.status_code, answer.json["detail"]) == (404, "Pipeline none not found")
    body = {"pipeline_id": "bugfix", "task": "x", "project_id": "proj_1"}
    assert owner.post("/v1/runs", json=body).status_code == 404


def test_a_pipeline_with_errors_cannot_be_run(owner: FlaskClient):
    Pipeline.update(version_id=None, errors=["line 3, steps: none"], shipped=False).where(
        Pipeline.id == "bugfix"
    ).execute()
    answer = owner.post("/v1/runs", json={"pipeline_id": "bugfix", "task": "x"})
    assert answer.status_code == 422
    assert "line 3" in answer.json["detail"]


def test_text_that_postgres_cannot_store_is_mended(ask: Ask, owner: FlaskClient):
    run = ask("a\x00b", project_name="p\x00q")
    assert run["task"] == "a�b"
    assert run["project_name"] == "p�q"
    raw = b'{"pipeline_id": "bugfix", "task": "\\ud800"}'
    answer = owner.post("/v1/runs", data=raw, content_type="application/json")
    assert answer.status_code == 422


def test_the_same_key_and_body_give_the_same_run_and_another_body_a_conflict(owner: FlaskClient):
    body = {"pipeline_id": "bugfix", "task": "x"}
    key = {"Idempotency-Key": "k-1"}
    first = owner.post("/v1/runs", json=body, headers=key).json
    again = owner.post("/v1/runs", json=body, headers=key).json
    assert first["id"] == again["id"]
    other = owner.post("/v1/runs", json=body | {"task": "y"}, headers=key)
    assert other.status_code == 409
    owner.delete(f"/v1/runs/{first['id']}?force=true")
    late = owner.post("/v1/runs", json=body, headers=key)
    assert late.status_code == 409  # a late retry must not do the work again


def test_the_same_key_at_the_same_moment_makes_one_run(app: Flask, owner: FlaskClient):
    token = owner.environ_base["HTTP_AUTHORIZATION"]
    headers = {"Idempotency-Key": "k-1", "Authorization": token}
    body = {"pipeline_id": "bugfix", "task": "x"}

    def post(_: int) -> str:
        return app.test_client().post("/v1/runs", json=body, headers=headers).json["id"]

    with ThreadPoolExecutor(8) as callers:
        assert len(set(callers.map(post, range(8)))) == 1
    assert len(owner.get("/v1/runs").json) == 1


@pytest.mark.parametrize("key", ["", "k" * 256])
def test_a_key_that_is_none_or_endless_is_422(owner: FlaskClient, key: str):
    body = {"pipeline_id": "bugfix", "task": "x"}
    answer = owner.post("/v1/runs", json=body, headers={"Idempotency-Key": key})
    assert answer.status_code == 422
    assert answer.json["errors"][0]["loc"] == ["header", "Idempotency-Key"]


def test_another_caller_may_use_the_same_key(owner: FlaskClient, stranger: FlaskClient):
    body = {"pipeline_id": "bugfix", "task": "x"}
    key = {"Idempotency-Key": "k-1"}
    first = owner.post("/v1/runs", json=body, headers=key).json
    assert stranger.post("/v1/runs", json=body, headers=key).json["id"] != first["id"]


def test_a_run_says_whether_a_script_plays_in_it(ask: Ask, owner: FlaskClient, admin: FlaskClient):
    real = "anthropic/claude-sonnet-4-6"
    assert ask(model_override=real)["scripted"] is False
    assert ask()["scripted"] is True  # DEFAULT_MODEL of the tests
    for agent in ("yukihiro", "chieko"):
        assert admin.put(f"/v1/agents/{agent}/config", json={"model": real}).status_code == 200
    asked = ask()
    detail = owner.get(f"/v1/runs/{asked['id']}").json
    assert (asked["scripted"], detail["scripted"]) == (False, False)
    admin.put("/v1/agents/chieko/config", json={"model": "scripted/demo"})
    assert [run["scripted"] for run in owner.get("/v1/runs?fields=summary").json] == [
        True,
        True,
        False,
    ]


def test_cancelling_twice_is_once_and_an_ended_run_stays_ended(
    ask: Ask, owner: FlaskClient, work: Work
):
    run = ask()["id"]
    begun(run)
    assert owner.post(f"/v1/runs/{run}/cancel").json == {"run_id": run, "status": "cancelled"}
    assert owner.post(f"/v1/runs/{run}/cancel").status_code == 200
    work()
    told = owner.get(f"/v1/runs/{run}").json
    assert told["status"] == "cancelled"
    assert [step["status"] for step in told["steps"]] == ["cancelled", "skipped"]
    ended = owner.get(f"/v1/runs/{run}/logs").json[-1]
    assert (ended["type"], ended["cancelled"]) == ("run_failed", True)


def test_a_completed_run_cannot_be_cancelled(ask: Ask, owner: FlaskClient, work: Work):
    run = ask()["id"]
    work()
    answer = owner.post(f"/v1/runs/{run}/cancel")
    assert answer.status_code == 409
    assert "completed" in answer.json["detail"]


def test_a_paused_run_waits_and_goes_on(ask: Ask, owner: FlaskClient, work: Work):
    run = ask()["id"]
    begun(run)
    assert owner.post(f"/v1/runs/{run}/pause?mode=now").json["status"] == "paused"
    work()
    assert owner.get(f"/v1/runs/{run}").json["status"] == "paused"
    resumed = owner.post(f"/v1/runs/{run}/resume").json
    assert resumed == {"run_id": run, "status": "running", "requeued_steps": 1}
    work()
    assert owner.get(f"/v1/runs/{run}").json["status"] == "completed"
    assert owner.post(f"/v1/runs/{run}/resume").status_code == 409


def test_a_restart_begins_with_nothing_of_the_former_attempt(
    ask: Ask, owner: FlaskClient, work: Work
):
    plays = '{"steps": {"FIX": [{"fail": "no"}, {"fail": "no"}, {"fail": "no"}, {}]}}'
    run = ask(SCRIPT.format(plays=plays))["id"]
    work()
    assert owner.get(f"/v1/runs/{run}").json["status"] == "failed"
    told = owner.post(f"/v1/runs/{run}/restart", json={"context": "Try the clock"}).json
    assert (told["status"], told["attempt"], told["outputs"]) == ("pending", 2, {})
    assert told["human_context"] == "Try the clock"
    assert {step["status"] for step in told["steps"]} == {"pending"}
    nothing: Any = {"data": b"null", "content_type": "application/json"}
    assert owner.post(f"/v1/runs/{run}/restart", **nothing).status_code == 409


def test_restarting_a_step_does_it_and_what_followed_again(
    ask: Ask, owner: FlaskClient, work: Work
):
    run = ask()["id"]
    work()
    before = owner.get(f"/v1/runs/{run}").json
    told = owner.post(f"/v1/runs/{run}/steps/FIX/restart").json
    assert told["status"] == "running"
    work()
    after = owner.get(f"/v1/runs/{run}?history=true").json
    assert after["status"] == "completed"
    for old, new in zip(before["steps"], after["steps"], strict=True):
        assert old["id"] != new["id"]
        assert [execution["superseded"] for execution in new["executions"]] == [True, False]


def test_an_active_run_is_deleted_only_by_force(ask: Ask, owner: FlaskClient, work: Work):
    run = ask()["id"]
    assert owner.delete(f"/v1/runs/{run}").status_code == 409
    gone = owner.delete(f"/v1/runs/{run}?force=true")
    assert gone.json == {"status": "deleted", "run_id": run}
    assert owner.get(f"/v1/runs/{run}").status_code == 404
    work()


def test_ended_runs_are_deleted_in_bulk_and_active_ones_stay(
    ask: Ask, owner: FlaskClient, work: Work, stranger: FlaskClient
):
    ask()
    work()
    active = ask()["id"]
    assert owner.delete("/v1/runs").status_code == 400
    assert owner.delete("/v1/runs?status=running").status_code == 422
    assert stranger.delete("/v1/runs?status=completed").json["count"] == 0
    assert owner.delete("/v1/runs?status=completed").json == {"status": "deleted", "count": 1}
    assert [run["id"] for run in owner.get("/v1/runs").json] == [active]


def test_logs_go_on_after_an_event(ask: Ask, owner: FlaskClient, work: Work):
    run = ask()["id"]
    work()
    everything = owner.get(f"/v1/runs/{run}/logs").json
    assert [entry["id"] for entry in everything] == [
        str(number) for number in range(1, len(everything) + 1)
    ]
    assert (everything[0]["type"], everything[-1]["type"]) == ("run_created", "run_complete")
    rest = owner.get(f"/v1/runs/{run}/logs?since=3&limit=2").json
    assert [entry["id"] for entry in rest] == ["4", "5"]
    assert owner.get(f"/v1/runs/{run}/logs?since=$").json == []
    older = owner.get(f"/v1/runs/{run}/logs?names=legacy").json[0]
    assert (older["type"], older["legacyType"]) == ("RUN_CREATED", "run_created")
