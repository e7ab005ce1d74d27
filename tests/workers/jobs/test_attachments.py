"""Files that a person shows in a chat, as they reach the model."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

from flask.testing import FlaskClient

from models.base import db
from models.invariants import breaches
from tests.guards.things.attachments import upload
from tests.models.test_media import PNG
from tests.workers.jobs.test_chat_turns import Adaptive, chat, provider  # noqa: F401

UPLOAD = "/v1/attachments/upload"
PICTURE = f"data:image/png;base64,{base64.b64encode(PNG).decode()}"
Work = Callable[..., int]


def asked(provider: Adaptive, place: int = -1) -> Any:  # noqa: F811
    """The content of a message in what the provider was asked last."""
    return provider.requests[-1].body["messages"][place]["content"]


def test_what_a_person_attaches_reaches_the_model_and_stays_in_sight(
    owner: FlaskClient,
    provider: Adaptive,  # noqa: F811
    chat: str,  # noqa: F811
    work: Work,
):
    rows = owner.post(UPLOAD, **upload(b"item,number\nmilk,2\n", "list.csv")).json["id"]
    dot = owner.post(UPLOAD, **upload(PNG, "dot.png", session_id=chat)).json["id"]
    at = f"/v1/chat/sessions/{chat}/message"
    said = {"message": "What is this?", "attachment_ids": [rows, dot]}
    assert owner.post(at, json=said).status_code == 200
    work()
    words, table, picture = asked(provider)
    assert words["text"] == "What is this?"
    assert table["text"].startswith('\n<file name="list.csv">\n| item | number |')
    assert picture == {"type": "image_url", "image_url": {"url": PICTURE}}
    owner.post(at, json={"message": "And now?"})
    work()
    assert asked(provider, -3)[-1]["image_url"]["url"] == PICTURE
    assert asked(provider) == "And now?"
    owner.delete(f"/v1/attachments/{dot}")
    owner.post(at, json={"message": "Still there?"})
    work()
    assert "it was deleted" in str(asked(provider, -5))
    assert PICTURE not in str(provider.requests[-1].body)
    with db.connection_context():
        assert breaches() == []


def test_a_file_of_somebody_elses_is_refused_and_nothing_is_said(
    owner: FlaskClient,
    teammate: FlaskClient,
    provider: Adaptive,  # noqa: F811
    chat: str,  # noqa: F811
):
    theirs = teammate.post(UPLOAD, **upload(b"secret", "a.txt")).json["id"]
    said = {"message": "Read this", "attachment_ids": [theirs]}
    assert owner.post(f"/v1/chat/sessions/{chat}/message", json=said).status_code == 400
    assert owner.get(f"/v1/chat/sessions/{chat}").json["messages"] == []
    assert not provider.requests
