"""Pipelines over HTTP."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from flask.testing import FlaskClient

HELLO = """\
id: hello
name: Hello
defaults: {maxRetries: 1}
agents:
  - id: eric
    name: Eric
steps:
  - id: GREET
    agent: eric
    input: Say hello
    outputs: [greeting]
"""


def test_the_list_has_every_pipeline_by_id(owner: FlaskClient):
    listed = owner.get("/v1/pipelines/").json
    assert [pipeline["id"] for pipeline in listed] == sorted(p["id"] for p in listed)
    engineering = next(pipeline for pipeline in listed if pipeline["id"] == "engineering")
    assert engineering["valid"] is True
    assert engineering["steps"][0]["id"]
    assert {agent["id"] for agent in engineering["agents"]} >= {"yukihiro"}
    assert owner.get("/v1/pipelines/engineering").json == engineering


def test_an_unknown_pipeline_is_404(owner: FlaskClient):
    answer = owner.get("/v1/pipelines/none")
    assert (answer.status_code, answer.json["detail"]) == (404, "Pipeline none not found")


def test_a_pipeline_is_written_read_and_run(
    admin: FlaskClient, owner: FlaskClient, work: Callable[..., int]
):
    written = admin.put("/v1/pipelines/hello", json={"yaml_content": HELLO})
    assert written.json == {"status": "updated", "pipeline_id": "hello", "file": "hello.yml"}
    raw = owner.get("/v1/pipelines/hello/raw").json
    assert raw == {"pipeline_id": "hello", "yaml": HELLO, "file": "hello.yml"}
    assert owner.get("/v1/pipelines/hello").json["defaults"] == {"maxRetries": 1}
    run = owner.post("/v1/runs", json={"pipeline_id": "hello", "task": "x"}).json["id"]
    admin.put("/v1/pipelines/hello", json={"yaml_content": HELLO.replace("GREET", "OTHER")})
    work()
    told = owner.get(f"/v1/runs/{run}").json
    assert told["status"] == "completed"
    assert [step["step_id"] for step in told["steps"]] == ["GREET"]


def test_only_admins_write_pipelines(owner: FlaskClient):
    assert owner.put("/v1/pipelines/hello", json={"yaml_content": HELLO}).status_code == 403


@pytest.mark.parametrize(
    ("path", "text", "status"),
    [
        ("hello", "a: [", 400),
        ("hello", "just words", 400),
        ("hello", "- 1\n- 2", 400),
        ("hello", "", 400),
        ("other", HELLO, 400),
        ("hello", HELLO.replace("agent: eric", "agent: nobody"), 422),
        ("he.llo", HELLO, 422),
    ],
)
def test_what_is_wrong_with_a_pipeline_is_said(admin: FlaskClient, path, text, status):
    answer = admin.put(f"/v1/pipelines/{path}", json={"yaml_content": text})
    assert answer.status_code == status
    assert answer.json["detail"]


def test_a_faulty_pipeline_names_key_and_line(admin: FlaskClient):
    text = HELLO.replace("agent: eric", "agent: nobody")
    fault = admin.put("/v1/pipelines/hello", json={"yaml_content": text}).json["errors"][0]
    assert fault["loc"] == ["body", "yaml_content", "steps[0].agent"]
    assert "line 9" in fault["msg"]


def test_validation_says_what_the_engine_would(owner: FlaskClient):
    told = owner.post("/v1/pipelines/engineering/validate").json
    assert (told["valid"], told["pipeline_id"], told["errors"]) == (True, "engineering", [])
    assert "DX" in told["warnings"][0]
