"""Narrower streams for older clients: each turns events into what that path has always sent."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from flask import Response, current_app, g

from models.activities import Activity, recent
from models.agents import Agent
from models.base import db
from models.errors import Unavailable
from models.events import Event
from models.presence import presences
from models.runs import Run
from models.sessions import Session
from web import frames
from web.feed import Feed, Item
from web.positions import run_position
from web.schemas.lifecycle import EVENTS, entries, lifecycle_of
from web.stream import (
    OpenStream,
    Payload,
    RunStream,
    Shape,
    answer,
    asked_position,
    of_everything,
    payload_of,
)

CHANGES = {
    "session_started": "created",
    "session_completed": "completed",
    "session_failed": "failed",
}
STATES = {
    "work_started": ("idle", "working"),
    "work_complete": ("working", "idle"),
    "work_failed": ("working", "idle"),
}


def of_kind(word: str, agent_id: str | None = None) -> Shape:
    """Events whose type begins with `word`, of all agents or of one."""

    def shape(payload: Payload) -> Payload | None:
        mine = agent_id in (None, payload.get("agentId"))
        return payload if mine and payload["type"].startswith(word) else None

    return shape


def session_changes(agent_id: str | None = None) -> Shape:
    """Sessions that begin and end, of all agents or of one."""

    def shape(payload: Payload) -> Payload | None:
        kind = CHANGES.get(payload.get("activityType", ""))
        if kind is None or agent_id not in (None, payload["agentId"]):
            return None
        session_id = payload["data"].get("sessionId")
        told = {"type": kind, "sessionId": session_id, "agentId": payload["agentId"]}
        return {**told, "timestamp": payload["timestamp"], "data": payload["data"]}

    return shape


def agent_changes(payload: Payload) -> Payload | None:
    """Agents that take up work and put it down."""
    if payload.get("activityType") not in STATES:
        return None
    before, now = STATES[payload["activityType"]]
    work = payload["data"] if now == "working" else None
    told = {"type": "AGENT_STATE_CHANGED", "agentId": payload["agentId"], "fromState": before}
    return {**told, "toState": now, "currentWork": work, "timestamp": payload["timestamp"]}


def activity(agent: Agent, limit: int) -> Response:
    """An agent's timeline: its latest entries, its state, then what comes."""
    feed: Feed = current_app.extensions["feed"]
    if not feed.answers():
        raise Unavailable("The live stream is not available (Redis does not answer)")
    mine = Activity.visible_to(g.principal).where(Activity.agent_id == agent.id)
    past = [{**entry, "phase": "backfill"} for entry in entries(recent(mine, limit)[::-1])]
    state = lifecycle_of(agent, presences(g.principal, [agent.id])[agent.id])
    now = {"type": "current_state", "agentId": agent.id, **state}
    opening = [*past, now, {"type": "connected", "agentId": agent.id}]

    def shape(payload: Payload) -> Payload | None:
        if payload["type"] != "activity" or payload["agentId"] != agent.id:
            return None
        told = {name: payload[name] for name in ("id", "agentId", "timestamp", "data")}
        return {**told, "type": payload["activityType"], "phase": "live"}

    return answer(OpenStream(feed, g.principal, False, shape).chunks(None, opening))


def changes(form: dict[str, Any], shape: Shape) -> Response:
    """The stream of everything, in another shape."""
    return of_everything(form | {"names": "reference"}, shape)


def session_events(session: Session, run: Run, form: dict[str, Any]) -> Response:
    """One session: what happened in it, then what happens."""
    feed: Feed = current_app.extensions["feed"]
    start = run_position(asked_position(form, "0"))
    return answer(SessionStream(feed, g.principal, run, session).chunks(start, follow=True))


class SessionStream(RunStream):
    """A run's stream, narrowed to one session and in its words."""

    def __init__(self, feed: Feed, principal: Any, run: Run, session: Session) -> None:
        super().__init__(feed, principal, run, legacy=False)
        self.session_id: str = session.id
        self.step_id: str | None = None
        with db.connection_context():
            began = Event.select(Event.data).where(Event.session_id == session.id).first()
        self.step_id = began.data.get("stepId") if began else None

    def _replay(self, start: Any) -> Iterator[bytes]:
        yield from super()._replay(start)
        yield frames.frame({"type": "connected", "session_id": self.session_id})

    def _from_row(self, event: Event) -> bytes:
        self._sent(event.seq, event.type)
        return self._told(event.payload(), str(event.seq))

    def _rendered(self, item: Item, position: str) -> bytes:
        return self._told(payload_of(item.body), position)

    def _told(self, payload: Payload, position: str) -> bytes:
        """The frame for what belongs to the session; deltas name only their step."""
        kind = EVENTS.get(payload["type"])
        owner = payload.get("sessionId") or (
            self.session_id if payload.get("stepId") == self.step_id else None
        )
        if kind is None or owner != self.session_id:
            return b""
        hidden = {"type", "legacyType", "timestamp", "runId"}
        data = {name: value for name, value in payload.items() if name not in hidden}
        told = {"type": kind, "timestamp": payload["timestamp"], "data": data}
        return frames.frame({**told, "stream_id": position}, position)
