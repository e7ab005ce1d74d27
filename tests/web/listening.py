"""Listening to a stream in a test, and making things happen that it should tell."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from flask.testing import FlaskClient

from models import events, streams
from models.base import db
from models.config import Settings
from models.runs import Run


@dataclass
class Frame:
    event: str = "message"
    id: str | None = None
    data: Any = None
    comment: str | None = None


def read(chunks: Iterator[bytes]) -> Iterator[Frame]:
    """Frames and comments, one by one, as they arrive."""
    rest = b""
    for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n\n")
        for block in (block.decode() for block in whole):
            lines = dict(line.partition(": ")[::2] for line in block.split("\n"))
            if "" in lines or block.startswith(":"):
                yield Frame("comment", comment=block.lstrip(": "))
            elif "data" in lines:
                data = json.loads(lines["data"])
                yield Frame(lines.get("event", "message"), lines.get("id"), data)


@contextmanager
def listening(client: FlaskClient, path: str, after: str | None = None) -> Iterator[Iterator]:
    headers = {"Last-Event-ID": after} if after else {}
    answer = client.get(path, headers=headers, buffered=False)
    assert answer.status_code == 200, answer.text
    assert answer.content_type.startswith("text/event-stream")
    assert answer.headers["X-Accel-Buffering"] == "no"
    assert answer.headers["Cache-Control"] == "no-cache"
    try:
        yield read(answer.iter_encoded())
    finally:
        answer.close()


def messages(frames: Iterator[Frame], count: int | None = None) -> list[Frame]:
    """The next messages, up to `count` or the end."""
    found: list[Frame] = []
    for frame in frames:
        if frame.event == "end":
            return found
        if frame.event == "message":
            found.append(frame)
        if len(found) == count:
            return found
    return found


def numbered(frames: list[Frame]) -> list[Frame]:
    """Those of them that have a number of their own: live text has none."""
    return [frame for frame in frames if frame.id and frame.id.isdigit()]


def kinds(frames: list[Frame]) -> list[str]:
    return [frame.data["type"] for frame in frames]


def delta(settings: Settings, run: str, text: str) -> None:
    data = {"runId": run, "stepId": "FIX", "chunk": text}
    streams.publish(settings.redis_url, [events.loose("usr_owner", "agent_output", data)])


def happen(run: str, *names: str) -> None:
    with db.atomic():
        Run.locked(run).record(*[("agent_message", {"message": name}) for name in names])
