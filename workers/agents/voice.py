"""The live text of an agent: what its model says, as it says it, for whoever follows the stream."""

from __future__ import annotations

import time
from typing import Any

import redis

from models import events, streams
from models.logs import log
from models.runs import Run
from models.steps import Step
from workers.agents.events import Spoke
from workers.llm.base import Reply

FRAME_SECONDS = 0.05  # at most 20 frames of text a second and step
DELTAS = {"text": "agent_output", "thinking": "agent_thinking"}


class Voice:
    """Sends text in frames; losing one is fine, the whole text is durable."""

    def __init__(self, run: Run, step: Step, redis_url: str | None) -> None:
        self.run = run
        self.step = step
        self.redis_url = redis_url
        self._pending: list[str] = []
        self._kind = "text"
        self._sent = 0.0

    def speak(self, event: Spoke) -> None:
        """Take a piece of text in, and send what has come together when it is time."""
        if event.kind not in DELTAS:
            self.flush()  # a call may take its time
            return
        if event.kind != self._kind:
            self.flush()
            self._kind = event.kind
        self._pending.append(event.text)
        if time.monotonic() - self._sent >= FRAME_SECONDS:
            self.flush()

    def asked(self, after: int, again: bool) -> None:
        """A reply is to begin, after event number `after`; `again` in a lost one's place."""

    def closing(self, reply: Reply) -> dict[str, Any]:
        """What the event that ends a reply says further."""
        return {}

    def replied(self, reply: Reply) -> None:
        """A reply has ended, given just now or on record."""

    def written(self) -> None:
        """All that was told so far is durable."""

    def cut(self) -> dict[str, Any]:
        """What the reply under way has come to; nothing where that need not be kept."""
        return {}

    def flush(self) -> None:
        """Send what is held back."""
        if not self._pending or self.redis_url is None:
            self._pending.clear()
            return
        data = {"runId": self.run.id, "stepId": self.step.step_id, "chunk": "".join(self._pending)}
        self._pending.clear()
        self._sent = time.monotonic()
        body = events.loose(self.run.owner_id, DELTAS[self._kind], data, self.run.project_id)
        try:
            streams.publish(self.redis_url, [body])
        except redis.RedisError as error:
            log.warning("delta lost", error=str(error))
