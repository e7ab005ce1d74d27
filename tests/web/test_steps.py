"""The steps of a run over HTTP."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from flask.testing import FlaskClient

Work = Callable[..., int]
TASK = """Mend it.
```scripted
{"steps": {"VALIDATE": [{"outputs": {"validation_result": "FAIL"}}, {}]}}
```"""


@pytest.fixture
def run(owner: FlaskClient, work: Work) -> str:
    """A finished run that went back once."""
    run_id = owner.post("/v1/runs", json={"pipeline_id": "bugfix", "task": TASK}).json["id"]
    work()
    return run_id


@pytest.mark.parametrize("path", ["/v1/steps/{run}", "/v1/runs/{run}/steps"])
def test_steps_stand_in_the_order_of_the_pipeline(owner: FlaskClient, run: str, path: str):
    steps = owner.get(path.format(run=run)).json
    assert [(step["step_id"], step["position"], step["iterations"]) for step in steps] == [
        ("FIX", 0, 2),
        ("VALIDATE", 1, 2),
    ]
    assert {step["run_id"] for step in steps} == {run}
    assert {step["model_used"] for step in steps} == {"scripted/demo"}


def test_steps_are_narrowed_by_status(owner: FlaskClient, run: str):
    assert owner.get(f"/v1/steps/{run}?status=failed").json == []
    assert len(owner.get(f"/v1/steps/{run}?status=completed").json) == 2
    assert owner.get(f"/v1/steps/{run}?status=lost").status_code == 422


def test_a_step_answers_to_its_name_and_to_the_id_of_any_execution(owner: FlaskClient, run: str):
    steps = owner.get(f"/v1/steps/{run}?history=true").json
    first, second = (execution["id"] for execution in steps[0]["executions"])
    assert owner.get(f"/v1/steps/{run}/FIX").json["id"] == second
    assert owner.get(f"/v1/steps/{run}/{first}").json["visit"] == 1
    missing = owner.get(f"/v1/steps/{run}/NONE")
    assert missing.status_code == 404
    assert missing.json["detail"] == f"Step NONE not found for run {run}"
    assert owner.get(f"/v1/steps/{run}/%00").status_code == 404


def test_the_output_of_a_step_has_its_agents_last_words(owner: FlaskClient, run: str):
    told = owner.get(f"/v1/steps/{run}/VALIDATE/output").json
    assert told["outputs"]["validation_result"] == "PASS"
    assert told["output"]


def test_a_step_that_has_not_begun_has_no_output_yet(owner: FlaskClient):
    run = owner.post("/v1/runs", json={"pipeline_id": "bugfix", "task": "x"}).json["id"]
    told = owner.get(f"/v1/steps/{run}/FIX/output").json
    assert (told["status"], told["outputs"], told["output"]) == ("pending", {}, None)


@pytest.mark.parametrize("path", ["/v1/steps/{run}/FIX/logs", "/v1/runs/{run}/steps/FIX/logs"])
def test_the_logs_of_a_step_are_its_own(owner: FlaskClient, run: str, path: str):
    entries = owner.get(path.format(run=run)).json
    assert {entry["stepId"] for entry in entries} == {"FIX"}
    assert entries[0]["type"] == "step_queued"


def test_the_older_path_restarts_a_step_too(owner: FlaskClient, run: str, work: Work):
    told = owner.post(f"/v1/steps/{run}/VALIDATE/restart", json={"context": "Look again"}).json
    assert told == {"run_id": run, "step_id": "VALIDATE", "status": "restarting"}
    work()
    assert owner.get(f"/v1/steps/{run}/VALIDATE").json["human_context"] == "Look again"
    assert owner.get(f"/v1/steps/{run}/FIX").json["iterations"] == 2
