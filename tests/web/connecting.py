"""A project with a repository on GitHub, and agents assigned to it."""

from __future__ import annotations

from models.assignments import Assignment
from models.base import db
from tests.conftest import PROJECT
from tests.servers.github import INSTALLATION

HERE = f"/v1/github/projects/{PROJECT}"
FORM = {"installation_id": INSTALLATION, "owner": "acme", "repo": "todo"}


def assign(agent: str = "finn", project: str = PROJECT) -> None:
    with db.connection_context():
        Assignment(project=project, agent_id=agent, event_type="push").add()
