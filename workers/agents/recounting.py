"""The voice of a chat: each piece says where it belongs, and can be heard again until the end.

A client that comes late, or lost some pieces, reads the reply as it is kept in Redis; one that saw
a worker go amid a reply hears its successor from the place where the words differ.
"""

from __future__ import annotations

import threading
import time
from typing import Any

import redis

from models import events, live_text, utterances
from models.live_text import TEXT, THINKING, Reply
from models.logs import log
from models.runs import Run
from models.steps import Step
from workers.agents.events import Spoke
from workers.agents.voice import DELTAS, FRAME_SECONDS, Voice
from workers.llm.base import Reply as Answer
from workers.llm.base import Thinking

PARAGRAPH = "\n\n"  # between two replies of one turn


class Recounting(Voice):
    """Sends a reply in frames, and keeps it; `said` is all of it so far, by kind."""

    def __init__(self, run: Run, step: Step, redis_url: str | None) -> None:
        super().__init__(run, step, redis_url)
        self.spoke = False  # whether anything was said in this turn
        self.said: dict[str, str] = {}
        self._told: dict[str, int] = {}  # how many characters of it were sent
        self._former = Reply()  # what a worker that was lost had said of this very reply
        self._after = self._anew = self._kept = 0
        self._paragraph = self._cut_off = self._closed = False
        self._lock = threading.RLock()
        self._timer: threading.Timer | None = None

    def asked(self, after: int, again: bool) -> None:
        """A reply begins; in place of a lost one it goes on where that was, if it says the same."""
        self._former = self._left_behind() if again else Reply()
        former = self._former
        self.said = {TEXT: "", THINKING: ""}
        self._told = {TEXT: len(former.text), THINKING: len(former.thinking)}
        self._after, self._anew, self._kept = former.after or after, after, former.pieces
        self._closed, self._paragraph = False, self.spoke and not self._cut_off

    def speak(self, event: Spoke) -> None:
        """Take a piece of text in; between two replies of a turn there is a blank line."""
        with self._lock:
            if event.kind == "text" and self._paragraph:
                self._paragraph, event = False, Spoke("text", PARAGRAPH + event.text)
            super().speak(event)
            if self._pending and self._timer is None:  # the next piece may take its time
                self._timer = threading.Timer(FRAME_SECONDS, self._send_late)
                self._timer.daemon = True
                self._timer.start()

    def flush(self) -> None:
        """Send what is held back, and with it what could not be sent before."""
        with self._lock:
            if self._pending:
                self._flush(DELTAS[self._kind])

    def _send_late(self) -> None:
        with self._lock:
            self._timer = None
            self.flush()

    def _flush(self, kind: str) -> None:
        self.said[kind] += "".join(self._pending)
        self._pending.clear()
        self._sent = time.monotonic()
        if self._differs(kind):
            self._former, self._told = Reply(), {TEXT: 0, THINKING: 0}
            self._after, self._kept = self._anew, 0
        if self._hushed():
            return
        try:
            self._tell(kind)
        except redis.RedisError as error:
            log.warning("delta held back", error=str(error))
            self._hush()

    def closing(self, reply: Answer) -> dict[str, Any]:
        """The whole reply, and where what was heard of it belongs."""
        self._closed = True
        self._turn_from_longer()
        thinking = "".join(part.text for part in reply.message.parts if isinstance(part, Thinking))
        words = self.said[TEXT] or reply.message.text
        return {"text": words, "thinking": self.said[THINKING] or thinking, "after": self._after}

    def replied(self, reply: Answer) -> None:
        """The next reply of this turn is another paragraph, unless this one was cut off."""
        self.spoke = self.spoke or bool(reply.message.text)
        self._cut_off = reply.stop == "length"

    def written(self) -> None:
        """A reply whose end is durable is not under way any more."""
        if self._closed:
            self.said = {}

    def cut(self) -> dict[str, Any]:
        """What the reply under way has come to."""
        self.flush()
        words, thoughts = self.so_far()
        if self._closed or not (words or thoughts):
            return {}
        self._turn_from_longer()
        return {"text": words, "thinking": thoughts, "after": self._after}

    def so_far(self) -> tuple[str, str]:
        """The words and thoughts of the reply under way, or of one whose end is not durable."""
        said = {TEXT: "", THINKING: "", **self.said}
        said[DELTAS[self._kind]] += "".join(self._pending)
        return said[TEXT], said[THINKING]

    def _differs(self, kind: str) -> bool:
        """Whether it does not say what was said before."""
        former, now = self._former.said(kind), self.said[kind]
        return not (former.startswith(now) or now.startswith(former))

    def _turn_from_longer(self) -> None:
        """Where the lost worker had said more than this is all, that is to be taken back."""
        longer = (len(self._former.said(kind)) > len(self.said[kind]) for kind in self.said)
        if any(longer):
            self._after = self._anew

    def _tell(self, kind: str) -> None:
        chunk = self.said[kind][self._told[kind] :]
        if not chunk or self.redis_url is None:
            return
        piece = {"after": self._after, "kind": kind, "offset": self._told[kind], "chunk": chunk}
        about = {"runId": self.run.id, "stepId": self.step.step_id}
        data = {**about, **{name: piece[name] for name in ("after", "offset", "chunk")}}
        body = events.loose(self.run.owner_id, kind, data)
        url, run_id = self.redis_url, self.run.id
        kept = live_text.tell(url, run_id, piece, body, new=not self._kept)
        self._told[kind] = len(self.said[kind])
        self._kept += 1
        if kept != self._kept:  # Redis was emptied meanwhile
            self._keep_anew(url)

    def _keep_anew(self, url: str) -> None:
        pieces = [
            {"after": self._after, "kind": kind, "offset": 0, "chunk": self.said[kind]}
            for kind in (THINKING, TEXT)
            if self.said[kind]
        ]
        live_text.replace(url, self.run.id, pieces)
        self._kept = len(pieces)

    def _left_behind(self) -> Reply:
        """What is kept of the very reply that another worker began."""
        if self.redis_url is None:
            return Reply()
        try:
            former = live_text.kept(self.redis_url, self.run.id)
        except redis.RedisError as error:
            log.warning("reply begins anew", error=str(error))
            self._hush()
            return Reply()
        return former if former.after > utterances.ended(self.run.id) else Reply()
