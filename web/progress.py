"""The stream of one swarm: how it stands, what happens, and how it stood at its end."""

from __future__ import annotations

from flask import Response, g

from models import events
from models.base import db
from models.logs import log
from models.principals import Principal
from models.swarms import Swarm
from web import frames
from web.feed import AWAY, Feed
from web.handover import Streaming
from web.items import Payload
from web.schemas.swarms import SwarmState, state
from web.stream import Channel, OpenStream, feed

LAST = ("swarm_complete", "swarm_failed")


def of_swarm(swarm: Swarm) -> Response:
    """The stream of a swarm; it begins and ends with a frame `state` and closes by itself."""
    return Streaming(feed(), SwarmStream(feed(), g.principal, swarm.id))


class SwarmStream(OpenStream):
    """What happens in a swarm, under the names that the original's dashboard knows."""

    def __init__(self, source: Feed, principal: Principal, swarm_id: str) -> None:
        super().__init__(source, principal, None, Channel(self._told))
        self.swarm_id = swarm_id

    def catch_up(self) -> bytes:
        """How the swarm stands; the last thing that is said when it is over."""
        self.behind = False
        try:
            with db.connection_context():
                swarm = Swarm.find(self.swarm_id)
                self.over = swarm is None or swarm.over
                return b"" if swarm is None else _standing(swarm)
        except AWAY as error:
            log.warning("state of a swarm unknown", swarm=self.swarm_id, error=str(error).strip())
            return b""

    def _told(self, payload: Payload) -> Payload | None:
        name = events.LEGACY.get(payload["type"])
        if payload.get("swarmId") != self.swarm_id or name is None:
            return None
        self.behind = payload["type"] in LAST
        return {**payload, "type": name, "legacyType": payload["type"]}


def _standing(swarm: Swarm) -> bytes:
    return frames.frame(SwarmState().dump(state(swarm)), event="state")
