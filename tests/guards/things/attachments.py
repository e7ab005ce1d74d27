"""A file that the owner has shown to nobody yet, and a chat to show it in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask.testing import FlaskClient

from models.agents import Agent
from models.base import db
from models.principals import Principal
from tasks import chats
from tests.guards.things.shipped import AGENT


def upload(
    content: bytes, filename: str, kind: str = "application/octet-stream", **texts: str
) -> dict[str, Any]:
    """A form with a file, as a browser sends it."""
    about = f'Content-Disposition: form-data; name="file"; filename="{filename}"'
    parts = [f"{about}\r\nContent-Type: {kind}\r\n\r\n".encode() + content]
    for name, text in texts.items():
        parts.append(f'Content-Disposition: form-data; name="{name}"\r\n\r\n{text}'.encode())
    body = b"".join(b"--x\r\n" + part + b"\r\n" for part in parts) + b"--x--\r\n"
    return {"data": body, "content_type": "multipart/form-data; boundary=x"}


BYTES = "POST /v1/internal/chat/attachments/upload-bytes"
UPLOADS = {
    "POST /v1/attachments/upload": upload(b"hello", "hello.txt"),
    "POST /v1/agents/<agent_id>/chat/<chat_id>/upload": upload(b"hello", "hello.txt"),
    BYTES: {"data": b"hello", "content_type": "text/plain"},
}
QUERIES = {BYTES: {"session_id": "none", "filename": "hello.txt"}}


def make(owner: FlaskClient, work: Callable[..., int]) -> dict[str, str]:
    kept = owner.post("/v1/attachments/upload", **upload(b"hello", "hello.txt")).json["id"]
    with db.connection_context():
        chat = chats.start(Principal("usr_owner", "user"), Agent.get_by_id(AGENT), {})
    QUERIES[BYTES]["session_id"] = chat.id
    return {"attachment_id": kept, "chat_id": chat.id}
