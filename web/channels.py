"""Narrower streams for older clients: each turns events into what that path has always sent."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from typing import Any

from flask import Response, g

from models.activities import Activity, recent
from models.agents import Agent
from models.events import Event
from models.presence import presences
from models.runs import Run
from models.sessions import Session
from web import frames
from web.handover import Streaming
from web.items import Item, Payload, payload_of
from web.positions import run_position
from web.schemas.lifecycle import EVENTS, entries, lifecycle_of
from web.stream import Channel, RunStream, Shape, asked_position, feed, of_everything

CHANGES = {
    "session_started": "created",
    "session_completed": "completed",
    "session_failed": "failed",
}
CHATS = "chat_session_"  # how the names of such events begin
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


def chat_changes(payload: Payload) -> Payload | None:
    """Chats that begin, end or are deleted."""
    kind = payload["type"]
    if not kind.startswith(CHATS):
        return None
    names = ("sessionId", "agentId", "oldStatus", "newStatus", "timestamp")
    told = {name: payload[name] for name in names if name in payload}
    return {"type": kind.removeprefix(CHATS), **told}


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
    caller = g.principal

    def opening() -> Iterator[bytes]:
        mine = Activity.visible_to(caller).where(Activity.agent_id == agent.id)
        for entry in entries(recent(mine, limit)[::-1]):
            yield frames.frame({**entry, "phase": "backfill"})
        state = lifecycle_of(agent, presences(caller, [agent.id])[agent.id])
        yield frames.frame({"type": "current_state", "agentId": agent.id, **state})
        yield frames.frame({"type": "connected", "agentId": agent.id})

    def shape(payload: Payload) -> Payload | None:
        if payload["type"] != "activity" or payload["agentId"] != agent.id:
            return None
        told = {name: payload[name] for name in ("id", "agentId", "timestamp", "data")}
        return {**told, "type": payload["activityType"], "phase": "live"}

    return of_everything({"names": "reference"}, Channel(shape, opening))


def changes(form: dict[str, Any], shape: Shape) -> Response:
    """The stream of everything, in another shape."""
    return of_everything(form | {"names": "reference"}, Channel(shape))


def session_events(session: Session, run: Run, form: dict[str, Any]) -> Response:
    """One session: what happened in it, then what happens."""
    stream = SessionStream(feed(), g.principal, run, run_position(asked_position(form, "0")))
    stream.narrow(session)
    return Streaming(feed(), stream)


class SessionStream(RunStream):
    """A run's stream, narrowed to one session and in its words."""

    session_id = ""
    step_id: str | None = None
    _greeted = False

    def narrow(self, session: Session) -> None:
        """Tell of this session only, also after the run's end."""
        self.follow = True
        self.session_id = session.id
        began = Event.select(Event.data).where(Event.session_id == session.id).first()
        self.step_id = began.data.get("stepId") if began else None

    def place(self) -> Hashable:
        """Nobody else's: two sessions of a run differ."""
        return None

    def catch_up(self) -> bytes:
        """A batch of the past; `connected` follows the last one."""
        piece = super().catch_up()
        if self.behind or self._greeted:
            return piece
        self._greeted = True
        return piece + frames.frame({"type": "connected", "session_id": self.session_id})

    def _from_past(self, seq: int, payload: Payload) -> bytes:
        self._sent(seq, payload["type"])
        return self._told(payload, str(seq))

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
