"""Writing down what an agent says and does: durable events, call rows, live deltas.

Every durable write holds the run's lock and asks whether the lease is still ours; a worker that
was taken over cannot write anything.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any

import redis

from models import events, streams
from models.base import db
from models.llm_calls import LlmCall
from models.logs import log
from models.runs import Run
from models.sessions import Session
from models.steps import Step
from workers.agents.events import Called, Compacted, Ending, Event, Replied, Returned, Spoke
from workers.agents.tools.base import bounded
from workers.halting import Stopped
from workers.leases import LOST
from workers.llm.base import Model, Reply, Thinking, Usage
from workers.llm.prices import price

FRAME_SECONDS = 0.05  # at most 20 frames of text a second and step
OURS = ("local", "scripted")  # models that need no key
RESULT_LIMIT = 10_000  # characters of a tool's answer in an event
DELTAS = {"text": "agent_output", "thinking": "agent_thinking"}


class Transcript:
    """The record of one session; feed it every event of the conversation."""

    def __init__(self, run: Run, step: Step, model: Model, redis_url: str | None) -> None:
        self.run = run
        self.step = step
        self.model = model
        self.redis_url = redis_url
        self.turns = 0
        self.said = ""  # the last thing the model said in words
        self._pending: list[str] = []
        self._kind = "text"
        self._sent = 0.0

    def follow(self, conversation: Generator[Event, None, Ending]) -> Ending:
        """Write a whole conversation down; gives how it ended."""
        while True:
            try:
                event = next(conversation)
            except StopIteration as over:
                self.flush()
                ending: Ending = over.value
                return ending
            self.write(event)

    def write(self, event: Event) -> None:
        """Record one event of the conversation; raises Stopped when the lease is gone."""
        if isinstance(event, Spoke):
            self._speak(event)
            return
        self.flush()
        match event:
            case Replied():
                self._reply(event.reply, event.seconds, event.context_used)
            case Called():
                self._record("tool_call_start", args=event.call.arguments, **self._call(event))
            case Returned():
                self._record("tool_call_end", **self._call(event), **_answer(event))
            case Compacted():
                self._compact(event)

    def warn(self, message: str) -> None:
        """Tell in the log and in the run's history what whoever runs this should know."""
        log.warning(message, run=self.run.id, step=self.step.step_id)
        self._record("warning", message=message)

    def flush(self) -> None:
        """Send the text that is held back to the live stream; losing it is fine."""
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

    def _speak(self, event: Spoke) -> None:
        if event.kind not in DELTAS:
            return
        if event.kind != self._kind:
            self.flush()
            self._kind = event.kind
        self._pending.append(event.text)
        if time.monotonic() - self._sent >= FRAME_SECONDS:
            self.flush()

    def _compact(self, event: Compacted) -> None:
        if event.reply is not None:
            self._reply(event.reply, event.seconds, event.after)
        self._record("context_compacted", before=event.before, after=event.after)

    def _reply(self, reply: Reply, seconds: float, context_used: int) -> None:
        self.turns += 1
        self.said = reply.message.text or self.said
        with self._held() as run:
            call = self._call_row(reply, seconds, context_used)
            call.add()
            Session(id=self.step.session_id).put(turn_count=self.turns)
            told = {"turn": self.turns, "text": bounded(reply.message.text, RESULT_LIMIT)}
            self._append(
                run,
                ("turn_end", {**told, "stop": reply.stop}),
                ("llm_call", {**call.wire(), "callId": call.id, "scripted": self.model.scripted}),
            )

    def _call_row(self, reply: Reply, seconds: float, context_used: int) -> LlmCall:
        usage = reply.usage
        cost = price(self.model.provider, self.model.name, usage)
        return LlmCall(
            id=LlmCall.id.default(),
            session_id=self.step.session_id,
            turn=self.turns,
            run_id=self.run.id,
            step_id=self.step.step_id,
            agent_id=self.step.agent_id,
            owner_id=self.run.owner_id,
            request_id=reply.request_id,
            provider=self.model.provider,
            model=self.model.name,
            key_source=None if self.model.provider in OURS else "instance",
            **_tokens(usage),
            cost_input=cost.input,
            cost_output=cost.output,
            cost_total=cost.total,
            cost_approximate=cost.approximate,
            duration_ms=round(seconds * 1000),
            tool_call_count=len(reply.message.calls),
            has_thinking=any(isinstance(part, Thinking) for part in reply.message.parts),
            stop_reason=reply.stop,
            context_used_tokens=context_used,
            context_window_tokens=self.model.window,
        )

    def _call(self, event: Called | Returned) -> dict[str, Any]:
        """Providers number their calls per reply at times; ours are unique within the run."""
        unique = f"{self.step.session_id}-{self.turns}-{event.call.id}"
        return {"toolName": event.call.name, "toolCallId": unique}

    def _record(self, kind: str, **data: Any) -> None:
        with self._held() as run:
            self._append(run, (kind, data))

    def _append(self, run: Run, *happenings: events.Happening) -> None:
        about = {"stepId": self.step.step_id, "sessionId": self.step.session_id}
        told = [(kind, {**about, **data}) for kind, data in happenings]
        run.record(*told, session_id=self.step.session_id)

    @contextmanager
    def _held(self) -> Iterator[Run]:
        with db.atomic():
            run = Run.locked(self.run.id, self.run.attempt)
            if run is None or not self.step.held():
                raise Stopped(LOST)
            yield run


def _tokens(usage: Usage) -> dict[str, int]:
    return {
        "input_tokens": usage.input,
        "output_tokens": usage.output,
        "cache_read_tokens": usage.cache_read,
        "cache_write_tokens": usage.cache_write,
        "total_tokens": usage.input + usage.output,
    }


def _answer(event: Returned) -> dict[str, Any]:
    return {
        "result": bounded(event.result.text, RESULT_LIMIT),
        "isError": event.result.is_error,
        "durationMs": round(event.seconds * 1000),
    }
