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
HUSHED_SECONDS = 5.0  # how long nothing is said to a Redis that did not take the last word
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
        self._hushed_until = 0.0

    def speak(self, event: Spoke) -> None:
        """Take a piece of text in, and send what has come together when it is time."""
        if event.kind not in DELTAS:
            self.flush()  # a call may take its time
            return
        if event.kind != self._kind:
            self.flush()
            self._pending.clear()
            self._kind = event.kind
        self._pending.append(event.text)
        if time.monotonic() - self._sent >= FRAME_SECONDS:
            self.flush()

    def asked(self, after: int, again: bool) -> None:
        """A reply is to begin, after event number `after`; `again` in a lost one's place."""
        self._pending.clear()

    def closing(self, reply: Reply) -> dict[str, Any]:
        """What the event that ends a reply says further."""
        return {}

    def replied(self, reply: Reply) -> None:
        """A reply has ended, given just now or on record."""
        self._pending.clear()

    def written(self) -> None:
        """All that was told so far is durable."""

    def cut(self) -> dict[str, Any]:
        """What the reply under way has come to; nothing where that need not be kept."""
        return {}

    def flush(self) -> None:
        """Send what is held back."""
        url = self.redis_url
        if not self._pending or url is None or self._hushed():
            return
        data = {"runId": self.run.id, "stepId": self.step.step_id, "chunk": "".join(self._pending)}
        self._pending.clear()
        self._sent = time.monotonic()
        body = events.loose(self.run.owner_id, DELTAS[self._kind], data, self.run.project_id)
        try:
            streams.publish(url, [body])
        except redis.RedisError as error:
            log.warning("delta lost", error=str(error))
            self._hush()

    def _hush(self) -> None:
        """Say nothing for a while: the agent waits whenever Redis lets it wait."""
        self._hushed_until = time.monotonic() + HUSHED_SECONDS

    def _hushed(self) -> bool:
        """Whether nobody takes what is said; who has not for a while is asked again, briefly."""
        if self._hushed_until and time.monotonic() >= self._hushed_until:
            if streams.answers(self.redis_url):
                self._hushed_until = 0.0
            else:
                self._hush()
        return self._hushed_until > 0
