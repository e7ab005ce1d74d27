"""Events as they happen: run by run without a gap, or everything the caller may see."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import redis
from flask import Response, current_app, g, request

from models import events
from models.accounts import Principal
from models.base import db, now_ms
from models.errors import Unavailable
from models.logs import log
from models.runs import OVER, Run
from web import frames
from web.feed import AWAY, GAP, Feed, Inbox, Item
from web.history import legacy_names, named
from web.positions import START, Entry, RunPosition, entry_position, run_position, written

BATCH = 500
REPLAYED = 10_000
REPLAYED_MS = 600_000
EVERYWHERE = {"run_updated", "run_status_changed", "run_deleted", "runs_bulk_deleted"}
COUNTED = {"run_created", "run_updated", "run_status_changed"}
RESUMING = {"run_created", "human_intervention"}  # what follows an end when a run goes on

Payload = dict[str, Any]
Shape = Callable[[Payload], Payload | None]


def answer(chunks: Iterator[bytes]) -> Response:
    """A streaming answer that proxies do not hold back."""
    response = Response(chunks, mimetype="text/event-stream")
    response.headers["Cache-Control"] = "no-cache"
    response.headers["X-Accel-Buffering"] = "no"
    return response


def asked_position(form: Mapping[str, Any], default: str) -> str:
    """Where the client wants to begin; the header a browser resumes with wins."""
    header = request.headers.get("Last-Event-ID")
    return header or form.get("since") or form.get("after") or default


def of_run(run: Run, form: Mapping[str, Any], follow: bool) -> Response:
    """One run's events, all of them unless the client says where to begin."""
    start = run_position(asked_position(form, "0"))
    feed: Feed = current_app.extensions["feed"]
    return answer(RunStream(feed, g.principal, run, legacy_names(form)).chunks(start, follow))


def of_everything(form: Mapping[str, Any], shape: Shape | None = None) -> Response:
    """Everything the caller may see, from now on unless the client says where to begin."""
    start = entry_position(asked_position(form, "$"))
    feed: Feed = current_app.extensions["feed"]
    if not feed.answers():
        raise Unavailable("The live stream is not available (Redis does not answer)")
    stream = OpenStream(feed, g.principal, legacy_names(form), shape)
    return answer(stream.chunks(start))


def live(
    inbox: Inbox,
    deliver: Callable[[Item], Iterable[bytes]],
    allowed: Callable[[], bool],
    every: float,
) -> Iterator[bytes]:
    """What arrives, in pieces, with a sign of life `every` few seconds; ends when not allowed."""
    beat, beats = time.monotonic() + every, 0
    while not (inbox.closed or inbox.overflowed):
        items = inbox.take(beat - time.monotonic())
        if piece := b"".join(chunk for item in items for chunk in deliver(item)):
            yield piece
        if time.monotonic() >= beat:
            if not allowed():
                return
            beats += 1
            yield frames.comment("heartbeat")
            if beats % 2 == 0:
                yield frames.HEARTBEAT
            beat = time.monotonic() + every
    why = "the server restarts" if inbox.closed else "too slow for this stream"
    yield frames.comment(f"{why}; connect again with Last-Event-ID")


class RunStream:
    """A run's numbered events in order, each once, with the text that streams in between."""

    def __init__(self, feed: Feed, principal: Principal, run: Run, legacy: bool) -> None:
        self.feed = feed
        self.principal = principal
        self.run_id: str = run.id
        self.legacy = legacy
        self.entry: Entry = START  # the last stream entry that a replay has sent
        self.seq = run.event_seq
        self.over = False
        self._nears_end = True  # worth asking whether the run is over

    def chunks(self, start: RunPosition, follow: bool) -> Iterator[bytes]:
        """The frames from `start`; the last is `end`, unless the client follows."""
        with self.feed.listening(self.run_id) as inbox:
            yield frames.RETRY + frames.comment("connected")
            yield from self._replay(start)
            inbox.seen = self.seq
            if self._ended(follow):
                yield frames.END
                return
            deliver = self._delivering(inbox, follow)
            for piece in live(inbox, deliver, self._allowed, self.feed.beat_seconds):
                yield piece
                if self.over:
                    return

    def _delivering(self, inbox: Inbox, follow: bool) -> Callable[[Item], Iterable[bytes]]:
        def deliver(item: Item) -> Iterator[bytes]:
            if self.over:
                return
            yield from self._delivered(item)
            inbox.seen = self.seq
            if self._ended(follow):
                yield frames.END

        return deliver

    def _delivered(self, item: Item) -> Iterator[bytes]:
        """The frames for one item: nothing, itself, or what was missing before it."""
        body = item.body
        if body is None:
            self._nears_end = True
            yield from self._fill()
        elif body["seq"] is None:
            if item.entry > self.entry and body["type"] not in EVERYWHERE:
                yield self._rendered(item, f"{self.seq}.{written(item.entry)}")
        elif body["seq"] > self.seq:
            whole = body.get("whole", True)
            if not whole or body["seq"] > self.seq + 1:
                yield from self._fill()
            if whole and body["seq"] == self.seq + 1:
                yield self._rendered(item, str(body["seq"]))
                self._sent(body["seq"], body["type"])

    def _rendered(self, item: Item, position: str) -> bytes:
        key = (position, self.legacy)
        if key not in item.rendered:
            item.rendered[key] = frames.frame(named(payload_of(item.body), self.legacy), position)
        return item.rendered[key]

    def _replay(self, start: RunPosition) -> Iterator[bytes]:
        """What was missed: from Redis, with the text, while it holds it; else from Postgres."""
        if start.seq is None:
            return
        self.seq = start.seq
        if start.entry is not None:
            self.entry = start.entry
            for item in self._missed(start.entry):
                yield from self._delivered(item)
                self.entry = item.entry
        yield from self._fill()

    def _missed(self, entry: Entry) -> list[Item]:
        try:
            if not self.feed.redis_url or not self.feed.holds(entry):
                return []
            missed = self.feed.since(entry, REPLAYED)
        except redis.RedisError as error:
            log.info("replay without deltas", error=str(error))
            return []
        return [item for item in missed if item.body and item.body["run"] == self.run_id]

    def _fill(self) -> Iterator[bytes]:
        """Everything that Postgres has beyond `seq`; a recheck tries again if it is away."""
        try:
            while batch := self._after():
                if piece := b"".join(self._from_row(event) for event in batch):
                    yield piece
        except AWAY as error:
            log.warning("history unavailable", run=self.run_id, error=str(error).strip())

    def _after(self) -> list[events.Event]:
        with db.connection_context():
            return list(events.after(self.run_id, self.seq, BATCH))

    def _from_row(self, event: events.Event) -> bytes:
        self._sent(event.seq, event.type)
        return frames.frame(named(event.payload(), self.legacy), str(event.seq))

    def _sent(self, seq: int, kind: str) -> None:
        self.seq = seq
        self._nears_end = kind in events.FINAL or (self._nears_end and kind not in RESUMING)

    def _ended(self, follow: bool) -> bool:
        """Whether the run is over and its last event has been sent, or the run is gone."""
        if follow or not self._nears_end:
            return False
        try:
            with db.connection_context():
                row = Run.select(Run.state, Run.event_seq).where(Run.id == self.run_id).first()
        except AWAY as error:
            log.warning("end not confirmed", run=self.run_id, error=str(error).strip())
            return False
        self.over = row is None or (row.state in OVER and row.event_seq <= self.seq)
        self._nears_end = row is not None and row.state in OVER
        return self.over

    def _allowed(self) -> bool:
        """Whether the caller may still see the run; not knowing is not a no."""
        try:
            with db.connection_context():
                mine = Run.visible_to(self.principal).where(Run.id == self.run_id)
                return bool(mine.exists())
        except AWAY as error:
            log.warning("access not rechecked", run=self.run_id, error=str(error).strip())
            return True


class OpenStream:
    """Whatever happens, in the order it was told, as far as the caller may see it."""

    def __init__(self, feed: Feed, principal: Principal, legacy: bool, shape: Shape | None) -> None:
        self.feed = feed
        self.principal = principal
        self.legacy = legacy
        self.shape = shape
        self.entry: Entry = START

    def chunks(self, start: Entry | None, first: Iterable[Payload] = ()) -> Iterator[bytes]:
        """The frames after `start` (None: from now on), beginning with `first`."""
        with self.feed.listening(None) as inbox:
            yield frames.RETRY + frames.comment("connected")
            for payload in first:
                yield frames.frame(payload)
            if start is not None:
                yield from self._replay(start)
            yield from live(inbox, self.deliver, lambda: True, self.feed.beat_seconds)

    def deliver(self, item: Item) -> Iterator[bytes]:
        """The frame for one item, if the caller may see it and wants it."""
        body = item.body
        if item is GAP:
            yield self._gap(self.entry)
        elif body is not None and item.entry > self.entry:
            self.entry = item.entry
            if self.principal.is_admin or body["owner"] == self.principal.id:
                payload = self._payload(body)
                if payload is not None:
                    yield frames.frame(named(payload, self.legacy), written(item.entry))

    def _payload(self, body: Payload) -> Payload | None:
        payload = payload_of(body)
        if self.shape is not None:
            return self.shape(payload)
        if body["type"] in COUNTED:
            payload["activeRuns"] = self.feed.running_runs(self.principal)
        return payload

    def _replay(self, start: Entry) -> Iterator[bytes]:
        """At most ten minutes and ten thousand entries; older positions are told of a gap."""
        earliest = (now_ms() - REPLAYED_MS, 0)
        try:
            held = start >= earliest and self.feed.holds(start)
            items = self.feed.since(max(start, earliest), REPLAYED)
        except redis.RedisError as error:
            log.info("nothing to replay", error=str(error))
            held, items = False, []
        if start != START and not held:
            yield self._gap(start)
        for item in items:
            yield from self.deliver(item)

    def _gap(self, start: Entry) -> bytes:
        told = events.payload("stream_gap", {"from": written(start)}, now_ms())
        return frames.frame(named(told, self.legacy))


def payload_of(body: Payload | None) -> Payload:
    """A stream entry as clients read it."""
    body = body or {}
    about = {"runId": body["run"]} if body.get("run") else {}
    return events.payload(body["type"], about | body["data"], body["at"])
