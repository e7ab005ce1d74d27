"""One of everything that has an id, the owner's, in the project that the teammate shares.

`make` gives what stands in an address in place of each `<name>`; `BODIES` and `QUERIES` are for
views whose documented example does not fit these things.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from flask.testing import FlaskClient

from models.board import Column, Dependency, Task
from models.llm_calls import LlmCall
from models.projects import ProjectAgent, ProjectWorkflow
from models.sessions import Session
from models.steps import Step
from models.templates import ProjectTemplate
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
_TASK = "/v1/projects/<project_id>/tasks/<task_id>"
BODIES: dict[str, Any] = {
    "PUT /v1/pipelines/<pipeline_id>": {
        "yaml_content": "id: bugfix\nname: x\nagents: []\nsteps: []"
    },
    "POST /v1/runs": {"pipeline_id": "bugfix", "task": "x"},
    "POST /v1/runs/<run_id>/fork": {},
    "POST /v1/projects/<project_id>/members": {"userId": "usr_admin"},
    f"POST {_TASK}/move": {"columnId": "col_shared"},
    f"POST {_TASK}/dependencies": {"fromTaskId": "task_other"},
}
QUERIES: dict[str, dict[str, str]] = {
    "DELETE /v1/runs": {"status": "completed"},
    f"DELETE {_TASK}/workspace": {"agent_id": AGENT},
    f"POST {_TASK}/run-completed": {"run_id": "none", "status": "completed"},
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


def _board(owner: FlaskClient) -> dict[str, str]:
    """A board in the project, with an agent on it; fixed ids, so that bodies can name them."""
    column = Column(id="col_shared", project=PROJECT, name="Ready", position=0)
    column.task_statuses = ["ready", "done"]
    column.add()
    about = {"project": PROJECT, "column": column.id, "status": "ready"}
    for name in ("task_shared", "task_other", "task_last"):
        Task(id=name, title=name, **about).add()
    between = {"from_task": "task_shared", "to_task": "task_last"}
    Dependency(id="dep_shared", project=PROJECT, **between).add()
    ProjectAgent(project=PROJECT, agent_id=AGENT).add()
    workflow = {"name": "Usual", "pipeline_id": "bugfix"}
    ProjectWorkflow(id="wf_shared", project=PROJECT, **workflow).add()
    template = {"slug": "own", "name": "Own", "created_by": "usr_owner"}
    ProjectTemplate(id="tmpl_own", **template).add()
    return {
        "column_id": column.id,
        "task_id": "task_shared",
        "dependency_id": "dep_shared",
        "workflow_id": "wf_shared",
        "template_id": "tmpl_own",
        "member_id": "usr_teammate",
    }


MAKERS: list[Callable[[FlaskClient], Mapping[str, str]]] = [_board]  # of the other nouns


def _made(owner: FlaskClient) -> dict[str, str]:
    found: dict[str, str] = {}
    for maker in MAKERS:
        found |= maker(owner)
    return found
