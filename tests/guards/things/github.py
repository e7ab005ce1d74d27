"""A connected repository, an agent that answers to it, and what GitHub has told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask.testing import FlaskClient

from models.assignments import Trigger
from models.base import db
from models.webhooks import WebhookEvent, WebhookSecret
from tests.conftest import PROJECT
from tests.guards.things.shipped import AGENT
from tests.servers.github import INSTALLATION

CONNECT = {"installation_id": INSTALLATION, "owner": "acme", "repo": "todo"}
BODIES: dict[str, Any] = {
    "POST /v1/github/projects/<project_id>/connect": CONNECT,
    "POST /v1/github/manual-callback": {"installation_id": INSTALLATION},
}
QUERIES = {
    "GET /v1/github/projects/<project_id>/repositories": {"installation_id": str(INSTALLATION)},
    "GET /v1/github/install": {"project_id": PROJECT},
    "GET /v1/github/repo-token": {"repo": "acme/todo"},
    "GET /v1/github/git-credential": {"agent_id": AGENT},
}


def make(owner: FlaskClient, work: Callable[..., int]) -> dict[str, str]:
    owner.post(f"/v1/github/projects/{PROJECT}/connect", json=CONNECT)
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
