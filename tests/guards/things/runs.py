"""A run that is over, one that waits, a swarm and an executor."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask.testing import FlaskClient

from models.base import db
from models.llm_calls import LlmCall
from models.pushes import Push
from models.sessions import Session
from tests.beginning import begun
from tests.conftest import PROJECT
from tests.guards.things.shipped import AGENT
from tests.servers.github_pulls import KNOWN
from tests.web.boards import planted

TASK = {
    "key": "A",
    "title": "One",
    "project_id": PROJECT,
    "task_id": "T1",
    "execution_prompt": "Do it",
}
SWARM = {"agent_id": "eric", "tasks": [TASK]}
ORDER = {
    "agent_id": AGENT,
    "execution_prompt": "x",
    "project_id": PROJECT,
    "task_id": "T1",
}
BODIES: dict[str, Any] = {
    "POST /v1/swarm/execute": SWARM,
    "POST /v1/internal/swarm-execute": SWARM,
    "POST /v1/spawn-executor/execute": ORDER,
    "POST /v1/internal/spawn-executor": ORDER,
    "PUT /v1/pipelines/<pipeline_id>": {
        "yaml_content": "id: bugfix\nname: x\nagents: []\nsteps: []"
    },
    "POST /v1/runs": {"pipeline_id": "bugfix", "task": "x"},
    "POST /v1/runs/<run_id>/fork": {},
}
QUERIES = {"DELETE /v1/runs": {"status": "completed"}}
OTHERS = {"/v1/spawn-executor/<run_id>": {"run_id": "executor_id"}}


def make(owner: FlaskClient, work: Callable[..., int]) -> dict[str, str]:
    form = {"pipeline_id": "bugfix", "task": "x", "project_id": PROJECT}
    run = owner.post("/v1/runs", json=form).json["id"]
    work()
    refused(run)
    session, call = (each.get(each.run_id == run) for each in (Session, LlmCall))
    planted(PROJECT, "T1")
    swarm = owner.post("/v1/swarm/execute", json=SWARM).json["swarm_id"]
    work()
    waiting = owner.post("/v1/runs", json=form).json["id"]
    item = begun(waiting).id
    executor = owner.post("/v1/spawn-executor/execute", json=ORDER).json["run_id"]
    made = {"run_id": run, "executor_id": executor, "swarm_id": swarm, "item_id": item}
    made |= {"session_id": session.id, "call_id": call.id}
    return {**made, "step_id": "FIX", "project_id": PROJECT}


def refused(run: str) -> None:
    """The repository would not take what the run left for the branch of `task_shared`."""
    about = {"project": PROJECT, "task_id": "task_shared", "branch": KNOWN}
    left = {"commit": "c" * 40, "snapshot": "b" * 64, "state": "refused", "error": "Declined"}
    with db.connection_context():
        Push(id="push_shared", source=run, run=run, **about, **left).add()
