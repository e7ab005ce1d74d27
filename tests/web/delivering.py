"""Delivering webhooks in a test, and seeing what they ask for."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from flask.testing import FlaskClient

from models.outbox import Outbox
from tests.servers.github import SECRET, signed

PATHS = ("/v1/github/webhooks", "/v1/webhooks/github")
Send = Callable[..., Any]


def sender(client: FlaskClient) -> Send:
    """Posts a body as GitHub does; `headers` replace some or (None) leave them out."""

    def post(body: Any, event: str = "issues", path: str = PATHS[0], **headers: Any) -> Any:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        secret = headers.pop("secret", SECRET)
        sent = {"X-GitHub-Event": event, "X-GitHub-Delivery": "d-1"} | signed(raw, secret)
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        kept = {name: value for name, value in sent.items() if value is not None}
        return client.post(path, data=raw, headers=kept)

    return post


def jobs() -> list[Any]:
    asked = Outbox.select().where(Outbox.queue == "short")
    return [row.body["args"] for row in asked if row.body["task"] == "github.process"]
