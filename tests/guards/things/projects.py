"""A board in the project, with an agent on it; fixed ids, so that bodies can name them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask.testing import FlaskClient

from models.base import db
from models.board import Column, Dependency, Task
from models.projects import ProjectAgent, ProjectWorkflow
from models.templates import ProjectTemplate
from tests.conftest import PROJECT
from tests.guards.things.shipped import AGENT

TASK = "/v1/projects/<project_id>/tasks/<task_id>"
BODIES: dict[str, Any] = {
    "POST /v1/projects/<project_id>/members": {"userId": "usr_admin"},
    f"POST {TASK}/move": {"columnId": "col_shared"},
    f"POST {TASK}/dependencies": {"fromTaskId": "task_other"},
}
QUERIES = {
    f"DELETE {TASK}/workspace": {"agent_id": AGENT},
    f"POST {TASK}/run-completed": {"run_id": "none", "status": "completed"},
}
WORKFLOW = {"name": "Usual", "pipeline_id": "bugfix"}
TEMPLATE = {"slug": "own", "name": "Own", "created_by": "usr_owner"}


def make(owner: FlaskClient, work: Callable[..., int]) -> dict[str, str]:
    about = {"project": PROJECT, "column": "col_shared", "status": "ready"}
    between = {"from_task": "task_shared", "to_task": "task_last"}
    with db.connection_context(), db.atomic():
        column = Column(id="col_shared", project=PROJECT, name="Ready", position=0)
        column.task_statuses = ["ready", "done"]
        column.add()
        for name in ("task_shared", "task_other", "task_last"):
            Task(id=name, title=name, **about).add()
        Dependency(id="dep_shared", project=PROJECT, **between).add()
        ProjectAgent(project=PROJECT, agent_id=AGENT).add()
        ProjectWorkflow(id="wf_shared", project=PROJECT, **WORKFLOW).add()
        ProjectTemplate(id="tmpl_own", **TEMPLATE).add()
    return {
        "column_id": "col_shared",
        "task_id": "task_shared",
        "dependency_id": "dep_shared",
        "workflow_id": "wf_shared",
        "template_id": "tmpl_own",
        "member_id": "usr_teammate",
    }
