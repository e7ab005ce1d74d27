"""Tools that agents may not use, over HTTP and at work."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from flask.testing import FlaskClient

from models.agent_tools import ToolOverride
from models.base import db
from models.events import Event
from tasks import pipelines
from tests.environment import environment
from tests.servers.author import Author, turn_of
from tests.servers.provider import Answer, Received
from tests.workers.jobs.dying import call
from tests.workers.jobs.repeating import ONE

TOOLS = "/v1/agent-tools/yukihiro"
ALIAS = "/v1/agents/yukihiro/tools/overrides"


@pytest.fixture
def author(database: str, work: Callable[..., int]) -> Iterator[Author]:
    """A provider on the loopback, as the one that there is a key for."""
    with db.connection_context():
        pipelines.put("one", ONE)
    with (
        Author() as server,
        environment(OPENAI_API_KEY="key", OPENAI_BASE_URL=f"{server.url}/v1"),
    ):
        yield server


def test_what_was_decided_is_listed_and_forgotten(owner: FlaskClient, admin: FlaskClient):
    assert owner.get(TOOLS).json == []
    told = admin.put(f"{TOOLS}/bash", json={"enabled": False, "updated_by": "somebody"}).json
    assert told["updated_at"] > 0
    told.pop("updated_at")
    assert told == {
        "agent_id": "yukihiro",
        "tool_name": "bash",
        "enabled": False,
        "updated_by": "usr_admin",
    }
    assert [row["tool_name"] for row in owner.get("/v1/agents/yukihiro/tools/overrides").json] == [
        "bash"
    ]
    assert admin.delete(f"{TOOLS}/bash").status_code == 204
    assert admin.delete(f"{TOOLS}/bash").status_code == 204
    assert owner.get(TOOLS).json == []


def test_several_are_decided_at_once_and_the_last_word_counts(
    admin: FlaskClient, engine: FlaskClient
):
    names = [("bash", False), ("grep", False), ("bash", True), ("srv__tool", False)]
    told = {"overrides": [{"tool_name": name, "enabled": may} for name, may in names]}
    rows = admin.put("/v1/agents/yukihiro/tools/overrides", json=told).json
    assert {row["tool_name"]: row["enabled"] for row in rows} == {
        "bash": True,
        "grep": False,
        "srv__tool": False,
    }
    assert engine.get("/v1/agents/yukihiro/tools/disabled").json == ["grep", "srv__tool"]


@pytest.mark.parametrize(
    ("path", "body", "status", "word"),
    [
        (TOOLS, {"overrides": []}, 400, "must not be empty"),
        (TOOLS, {}, 422, "overrides"),
        (TOOLS, {"overrides": [{"tool_name": "a b", "enabled": True}]}, 422, "the name of a tool"),
        (f"{TOOLS}/complete", {"enabled": False}, 422, "complete"),
        (f"{TOOLS}/bash", {"enabled": "no"}, 422, "enabled"),
        (f"{TOOLS}/bash", {}, 422, "enabled"),
        (f"{TOOLS}/{'x' * 200}", {"enabled": True}, 422, "tool_name"),
        ("/v1/agent-tools/nobody/bash", {"enabled": True}, 404, "Agent nobody"),
    ],
)
def test_what_makes_no_sense_is_refused(
    admin: FlaskClient, path: str, body: dict, status: int, word: str
):
    answer = admin.put(path, json=body)
    assert answer.status_code == status
    assert word in answer.json["detail"]
    assert admin.get(TOOLS).json == []


@pytest.mark.parametrize("tool", ["complete", "fail", "executor_complete", "executor_fail"])
@pytest.mark.parametrize("path", [TOOLS, ALIAS])
def test_no_agent_is_kept_from_ending_its_work(admin: FlaskClient, path: str, tool: str):
    several = [{"tool_name": name, "enabled": False} for name in ("bash", tool)]
    for answer in (
        admin.put(f"{path}/{tool}", json={"enabled": False}),
        admin.put(path, json={"overrides": several}),
    ):
        assert answer.status_code == 422
        assert answer.json["detail"] == f"Without {tool} an agent could never finish"
    assert admin.get(path).json == []  # nor is anything decided that came with it
    assert admin.put(f"{path}/{tool}", json={"enabled": True}).status_code == 200


def test_many_who_decide_at_once_leave_one_row(
    database: str, as_caller: Callable[[str | None], FlaskClient]
):
    def decide(number: int) -> int:
        body = {"enabled": number % 2 == 0}
        return as_caller("djb_admin").put(f"{TOOLS}/bash", json=body).status_code

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(decide, range(24))) == {200}
    with db.connection_context():
        assert ToolOverride.select().count() == 1


def test_an_agent_works_without_what_it_may_not_use(
    owner: FlaskClient, admin: FlaskClient, work: Callable[..., int]
):
    for tool in ("bash", "grep"):
        admin.put(f"{TOOLS}/{tool}", json={"enabled": False})
    form = {"pipeline_id": "bugfix", "task": "x", "model_override": "scripted/demo"}
    run = owner.post("/v1/runs", json=form).json["id"]
    work()
    assert owner.get(f"/v1/runs/{run}").json["status"] == "completed"
    with db.connection_context():
        began = Event.select().where((Event.run_id == run) & (Event.type == "tool_call_start"))
        used = {(event.data["stepId"], event.data["toolName"]) for event in began}
    assert {("FIX", "read"), ("VALIDATE", "bash")} < used
    assert not {("FIX", "bash"), ("FIX", "grep")} & used
    replay = owner.post(f"/v1/runs/{run}/replay", json={}).json["id"]
    work()
    assert owner.get(f"/v1/runs/{replay}").json["status"] == "completed"
    admin.delete(f"{TOOLS}/bash")
    replay = owner.post(f"/v1/runs/{run}/replay", json={}).json["id"]
    work()
    assert "differs" in owner.get(f"/v1/runs/{replay}").json["error"]


def test_what_is_decided_while_an_agent_works_counts_from_its_next_turn(
    admin: FlaskClient, author: Author, work: Callable[..., int]
):
    def decide(received: Received) -> None:
        """What was asked has its tools already: each decision falls into a turn."""
        if turn_of(received) == 0:
            admin.put(f"{TOOLS}/bash", json={"enabled": False})
        elif turn_of(received) == 1:
            admin.delete(f"{TOOLS}/bash")

    author.hears = decide
    done = call("complete", outputs={"answer": "42"}, summary="did")
    acts = [*(call("bash", command=f"echo turn {turn}") for turn in range(3)), done]
    author.lines = tuple(Answer(calls=(act,)) for act in acts)
    form = {"pipeline_id": "one", "task": "x", "model_override": "openai/gpt-5.2"}
    run = admin.post("/v1/runs", json=form).json["id"]
    work()
    assert admin.get(f"/v1/runs/{run}").json["status"] == "completed"
    offered = [
        {tool["function"]["name"] for tool in asked.body["tools"]} for asked in author.requests
    ]
    assert ["bash" in names for names in offered] == [True, False, True, True]
    assert all("complete" in names for names in offered)
    answers = [asked.body["messages"][-1]["content"] for asked in author.requests[1:]]
    assert [answers[0], answers[2]] == ["turn 0", "turn 2"]
    assert "there is no tool bash" in answers[1]
