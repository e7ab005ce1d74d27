"""The pull request of a task in the project."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask.testing import FlaskClient

from models.base import db
from models.board import Task
from tests.conftest import PROJECT
from tests.guards.things.shipped import AGENT
from tests.servers.github_pulls import KNOWN

PATH = "/projects/<project_id>/tasks/<task_id>/pull-request"
WANTED = {"agentId": AGENT, "title": "Share it", "base_branch": "trunk"}
BODIES: dict[str, Any] = {f"POST /v1{PATH}": WANTED}


def make(owner: FlaskClient, work: Callable[..., int]) -> dict[str, str]:
    with db.connection_context():
        Task.update(metadata={"git_branch": KNOWN}).where(Task.id == "task_shared").execute()
    owner.post(f"/v1/projects/{PROJECT}/tasks/task_shared/pull-request", json=WANTED)
    return {}
