"""One of everything that has an id, the owner's, in the project that the teammate shares.

`make` gives what stands in an address in place of each `<name>`; `BODIES` and `QUERIES` are for
views whose documented example does not fit these things.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from flask.testing import FlaskClient

from models.assignments import Trigger
from models.base import db
from models.llm_calls import LlmCall
from models.sessions import Session
from models.steps import Step
from models.webhooks import WebhookEvent, WebhookSecret
from tests.conftest import PROJECT
from tests.servers.github import INSTALLATION

AGENT = "yukihiro"
SHIPPED = {"agent_id": AGENT, "pipeline_id": "bugfix", "filename": "SOUL.md", "tool_name": "bash"}
TASK = {
    "key": "A",
    "title": "One",
    "project_id": PROJECT,
    "task_id": "T1",
    "execution_prompt": "Do it",
}
BODIES: dict[str, Any] = {
    "PUT /v1/pipelines/<pipeline_id>": {
        "yaml_content": "id: bugfix\nname: x\nagents: []\nsteps: []"
    },
    "POST /v1/runs": {"pipeline_id": "bugfix", "task": "x"},
    "POST /v1/runs/<run_id>/fork": {},
    "POST /v1/github/projects/<project_id>/connect": {
        "installation_id": INSTALLATION,
        "owner": "acme",
        "repo": "todo",
    },
    "POST /v1/github/manual-callback": {"installation_id": INSTALLATION},
}
COVERED = {"installation_id": str(INSTALLATION)}
QUERIES: dict[str, dict[str, str]] = {
    "DELETE /v1/runs": {"status": "completed"},
    "GET /v1/github/projects/<project_id>/repositories": COVERED,
    "GET /v1/github/install": {"project_id": PROJECT},
    "GET /v1/github/repo-token": {"repo": "acme/todo"},
    "GET /v1/github/git-credential": {"agent_id": AGENT},
}
OTHERS = {"/v1/spawn-executor/<run_id>": {"run_id": "executor_id"}}  # another kind than usual


def address(rule: str, made: Mapping[str, str]) -> str:
    """The path of a rule with what was made in place of its names."""
    other = OTHERS.get(rule, {})
    return re.sub(r"<(?:\w+:)?(\w+)>", lambda found: made[other.get(found[1], found[1])], rule)


def make(owner: FlaskClient, work: Callable[..., int]) -> dict[str, str]:
    """Make everything; gives the ids by the names that addresses have for them."""
    form = {"pipeline_id": "bugfix", "task": "x", "project_id": PROJECT}
    run = owner.post("/v1/runs", json=form).json["id"]
    work()
    session, call = Session.select().first(), LlmCall.select().first()
    asked = {"agent_id": "eric", "tasks": [TASK]}
    swarm = owner.post("/v1/swarm/execute", json=asked).json["swarm_id"]
    work()
    waiting = owner.post("/v1/runs", json=form).json["id"]
    work(1)
    item = Step.select().where(Step.run == waiting).get().id
    order = {"agent_id": AGENT, "execution_prompt": "x", "project_id": "p", "task_id": "T1"}
    executor = owner.post("/v1/spawn-executor/execute", json=order).json["run_id"]
    made = {
        "executor_id": executor,
        "run_id": run,
        "session_id": session.id,
        "call_id": call.id,
        "swarm_id": swarm,
    }
    named = {"item_id": item, "step_id": "FIX", "project_id": PROJECT, "task_id": "T1"}
    return {**SHIPPED, **made, **named, **_made(owner)}


def of_github(owner: FlaskClient) -> Mapping[str, str]:
    """A connected repository, an agent that answers to it, and what GitHub has told."""
    connect = BODIES["POST /v1/github/projects/<project_id>/connect"]
    owner.post(f"/v1/github/projects/{PROJECT}/connect", json=connect)
    told = {"agent_id": AGENT, "event_type": "issues"}
    row = owner.post(f"/v1/projects/{PROJECT}/github/assignments", json=told).json["id"]
    with db.connection_context():
        event = WebhookEvent(delivery_id="d", event_type="issues", payload={}).add()
        called = {"project": PROJECT, "event_id": event.id, "subject": "Issue #1"}
        trigger = Trigger(**told, **called).add()
        own = WebhookSecret(installation_id=5)
        own.lock_up(secret="a secret of its own")
        own.add()
    named = {"trigger_id": trigger.id, "event_id": event.id, "installation_id": "5"}
    return {"assignment_id": row, **named}


MAKERS: list[Callable[[FlaskClient], Mapping[str, str]]] = [  # of the other nouns
    of_github,
]


def _made(owner: FlaskClient) -> dict[str, str]:
    found: dict[str, str] = {}
    for maker in MAKERS:
        found |= maker(owner)
    return found
