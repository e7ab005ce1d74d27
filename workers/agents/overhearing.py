"""What a tool prints while it works, live, for whoever watches; its result says it all again."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from typing import Any

import redis

from models import events, streams
from models.live_text import TOOL_OUTPUT
from models.logs import log
from models.runs import Run
from models.steps import Step
from workers.agents.tools.base import tidy

FRAME_SECONDS = 0.2  # at most 5 frames a second and step
LONGEST_FRAME = 8_000  # characters; of more only the end is told
LONGEST = 64_000  # characters of one call: everybody's events share a stream
SKIPPED = "\n[... {count} characters ...]\n"
ENOUGH = "\n[... the rest comes with the result ...]\n"


class Overhearing:
    """Sends what the tool under way prints, in frames; losing one is fine.

    Any thread may be the one that hears.
    """

    def __init__(self, run: Run, step: Step, redis_url: str | None) -> None:
        self.run = run
        self.step = step
        self.redis_url = redis_url
        self._call: Mapping[str, Any] | None = None
        self._pending = ""
        self._skipped = 0  # characters before it that nobody has seen
        self._left = 0  # characters that may still be told of this call
        self._sent = 0.0
        self._timer: threading.Timer | None = None
        self._lock = threading.RLock()

    def begins(self, call: Mapping[str, Any]) -> None:
        """A tool is about to run; `call` is how its frames name it."""
        with self._lock:
            self._call, self._left = call, LONGEST
            self._pending, self._skipped = "", 0

    def hear(self, piece: str) -> None:
        """Take in what was printed, and send what has come together when it is time."""
        with self._lock:
            if self._call is None or self._left <= 0:
                return
            heard = self._pending + piece
            self._pending = heard[-LONGEST_FRAME:]
            self._skipped += len(heard) - len(self._pending)
            if time.monotonic() - self._sent >= FRAME_SECONDS:
                self._flush()
            elif self._timer is None:  # the next piece may take its time
                self._timer = threading.Timer(FRAME_SECONDS, self._send_late)
                self._timer.daemon = True
                self._timer.start()

    def ends(self) -> None:
        """The tool has answered; nothing of it comes later."""
        with self._lock:
            self._flush()
            self._call = None

    def _send_late(self) -> None:
        with self._lock:
            self._timer = None
            self._flush()

    def _flush(self) -> None:
        chunk, skipped = tidy(self._pending), self._skipped
        self._pending, self._skipped = "", 0
        if not chunk or self._call is None or self.redis_url is None:
            return
        self._left -= len(chunk)
        before = SKIPPED.format(count=skipped) if skipped else ""
        chunk = before + chunk + (ENOUGH if self._left <= 0 else "")
        about = {"runId": self.run.id, "stepId": self.step.step_id, **self._call}
        data = {**about, "chunk": chunk, "stream": "stdout"}
        body = events.loose(self.run.owner_id, TOOL_OUTPUT, data, self.run.project_id)
        self._sent = time.monotonic()
        try:
            streams.publish(self.redis_url, [body])
        except redis.RedisError as error:
            log.warning("output not told", error=str(error))
            self._left = 0
