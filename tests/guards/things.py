"""One of everything that has an id, the owner's, in the project that the teammate shares.

`make` gives what stands in an address in place of each `<name>`; `BODIES` and `QUERIES` are for
views whose documented example does not fit these things.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from flask.testing import FlaskClient

from models.llm_calls import LlmCall
from models.notifications import Notification
from models.sessions import Session
from models.steps import Step
from models.waitlist import Entry as Waiting
from tests.conftest import PROJECT

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
}
QUERIES: dict[str, dict[str, str]] = {"DELETE /v1/runs": {"status": "completed"}}
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


MAKERS: list[Callable[[FlaskClient], Mapping[str, str]]] = []  # of the other nouns


def _made(owner: FlaskClient) -> dict[str, str]:
    found: dict[str, str] = {}
    for maker in MAKERS:
        found |= maker(owner)
    return found


def _administration(_: FlaskClient) -> dict[str, str]:
    told, waits = Notification(title="x").add(), Waiting(email="ada@example.org").add()
    return {"notification_id": told.id, "entry_id": waits.id}


MAKERS.append(_administration)
