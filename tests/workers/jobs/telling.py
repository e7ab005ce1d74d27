"""Rows that say what GitHub has to do with a project."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from models import base
from models.assignments import Assignment
from models.github import Connection
from tests.conftest import PROJECT
from tests.servers.github import INSTALLATION

Deliver = Callable[..., str]


def connection(project: str, full_name: str = "acme/todo", at: int = 1) -> Connection:
    owner, _, name = full_name.partition("/")
    row = {"repo_full_name": full_name, "repo_key": full_name.lower(), "default_branch": "main"}
    made = Connection(
        project=project,
        installation_id=INSTALLATION,
        repo_owner=owner,
        repo_name=name,
        connected_at=at,
        **row,
    )
    with base.db.connection_context():
        return made.add()


def assign(**columns: Any) -> Assignment:
    row = {"project": PROJECT, "agent_id": "eric", "event_type": "issues", "auto_respond": True}
    return Assignment(**row | columns).add()
