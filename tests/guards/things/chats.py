"""A chat of the owner's in which something was said."""

from __future__ import annotations

from collections.abc import Callable

from flask.testing import FlaskClient

from tests.guards.things.shipped import AGENT

MODEL = {"model": "scripted/demo"}
QUERIES = {
    "PATCH /v1/agents/<agent_id>/chat/<chat_id>/model": MODEL,
    "PATCH /v1/chat/sessions/<chat_id>/model": MODEL,
}


def make(owner: FlaskClient, work: Callable[..., int]) -> dict[str, str]:
    form = {"agent_id": AGENT, **MODEL}
    chat = owner.post("/v1/chat/sessions", json=form).json["sessionId"]
    work()
    owner.post(f"/v1/chat/sessions/{chat}/message", json={"message": "Hello"})
    return {"chat_id": chat}
