"""Events as they happen: run by run without a gap, or everything the caller may see.

How to declare a stream of your own: `of_everything(form, Channel(...))`; see `Channel`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import redis
from flask import Response, current_app, g, request

from models import events
from models.base import db, now_ms
from models.errors import Unavailable
from models.logs import log
from models.principals import Principal
from models.projects import memberships
from models.runs import OVER, Run
from web import frames
from web.feed import AWAY, COUNTED, Feed
from web.handover import Streaming
from web.history import legacy_names, named
from web.items import GAP, RUN, Item, Payload, Topic, payload_of, shown
from web.positions import START, Entry, RunPosition, entry_position, run_position, written

BATCH = 1_000  # events fetched at a time
BATCH_BYTES = 1 << 20
REPLAYED = 10_000
REPLAYED_MS = 600_000
EVERYWHERE = {"run_updated", "run_status_changed", "run_deleted", "runs_bulk_deleted"}
RESUMING = {"run_created", "human_intervention"}  # what follows an end when a run goes on

Shape = Callable[[Payload], Payload | None]


@dataclass(frozen=True)
class Channel:
    """What of everything a narrower stream tells, and in which form.

    `shape` gives the payload to send for an event, or None to leave it out. `opening` gives the
    first frames; it is asked after the client has begun to listen, so that nothing happens
    unheard in between, with a database connection but outside of the request (take what you need
    from `g` before). `last` says which payload, as shaped, ends the stream; an opening that ends
    with `frames.END` ends it as well.

        def get(self, form, swarm_id):
            swarm = visible(Swarm, swarm_id)
            return of_everything(form, Channel(shape_of(swarm), lambda: [state(swarm.id)], is_last))
    """

    shape: Shape | None = None
    opening: Callable[[], Iterable[bytes]] = tuple
    last: Callable[[Payload], bool] = lambda payload: False


def asked_position(form: Mapping[str, Any], default: str) -> str:
    """Where the client wants to begin; the header a browser resumes with wins."""
    header = request.headers.get("Last-Event-ID")
    return header or form.get("since") or form.get("after") or default


def of_run(run: Run, form: Mapping[str, Any], follow: bool) -> Response:
    """One run's events, all of them unless the client says where to begin."""
    start = run_position(asked_position(form, "0"))
    stream = RunStream(feed(), g.principal, run, start)
    stream.legacy, stream.follow = legacy_names(form), follow
    return Streaming(feed(), stream)


def of_everything(form: Mapping[str, Any], channel: Channel | None = None) -> Response:
    """Everything the caller may see, from now on unless the client says where to begin."""
    start = entry_position(asked_position(form, "$"))
    if not feed().answers():
        raise Unavailable("The live stream is not available (Redis does not answer)")
    stream = OpenStream(feed(), g.principal, start, channel or Channel())
    stream.legacy = legacy_names(form)
    return Streaming(feed(), stream)


def feed() -> Feed:
    """The application's feed."""
    found: Feed = current_app.extensions["feed"]
    return found


class RunStream:
    """A run's numbered events in order, each once, with the text that streams in between."""

    def __init__(self, source: Feed, principal: Principal, run: Run, start: RunPosition) -> None:
        self.feed = source
        self.principal = principal
        self.topic: str | None = run.id
        self.topics: Collection[Topic] = ((RUN, run.id),)
        self.legacy = False
        self.follow = False  # stays after the end
        self.seq: int = run.event_seq if start.seq is None else start.seq
        self.entry: Entry = START  # the last stream entry that a replay has sent
        self.behind = True
        self.over = False
        self.unsure = False
        self._missed = start.entry  # text after this entry may still be in Redis
        self._nears_end = True  # worth asking whether the run is over

    def deliver(self, item: Item) -> bytes:
        """The frame for one item, or nothing: it was sent, or others before it are missing."""
        body = item.body
        if body is None:
            self.behind = self._nears_end = True
        elif body["seq"] is None:
            if item.entry > self.entry and body["type"] not in EVERYWHERE:
                return self._rendered(item, f"{self.seq}.{written(item.entry)}")
        elif body["seq"] == self.seq + 1 and body.get("whole", True):
            self._sent(body["seq"], body["type"])
            self.behind = self._nears_end and not self.follow
            return self._rendered(item, str(body["seq"]))
        elif body["seq"] > self.seq:
            self.behind = True
        return b""

    def place(self) -> Hashable:
        """Which run, what of it has been sent, and in which words."""
        return (self.topic, self.seq, self.legacy, self.follow) if self._missed is None else None

    def catch_up_like(self, other: RunStream) -> None:
        """Be where `other` is."""
        self.seq, self._nears_end = other.seq, other._nears_end
        self.behind, self.over, self.unsure = other.behind, other.over, other.unsure

    def catch_up(self) -> bytes:
        """What was missed: text from Redis while it holds it, events from Postgres; a batch.

        When Postgres goes away meanwhile, what it has given until then: that counts as told.
        """
        pieces: list[bytes] = []
        try:
            with db.connection_context():
                for piece in self._text_missed():
                    pieces.append(piece)  # noqa: PERF402 (what follows may raise)
                pieces.append(self._batch())
            self.unsure = False
        except AWAY as error:
            log.warning("history unavailable", run=self.topic, error=str(error).strip())
            self.behind, self.unsure = False, True
        return b"".join(pieces)

    def _text_missed(self) -> Iterator[bytes]:
        """What Redis has since a position amid text, unless it has lost some of it."""
        since, self._missed = self._missed, None
        for item in self._held_by_redis(since) if since is not None else ():
            number = (item.body or {}).get("seq")
            if number is None:
                yield self.deliver(item)
            elif number > self.seq:
                yield self._batch()  # whole, and with what the streams have skipped
            self.entry = item.entry

    def _held_by_redis(self, entry: Entry) -> list[Item]:
        try:
            if not self.feed.redis_url or not self.feed.holds(entry):
                return []
            items = self.feed.since(entry, REPLAYED, self.topic)
        except redis.RedisError as error:
            log.info("replay without text", error=str(error))
            return []
        return [item for item in items if (RUN, self.topic) in item.topics]

    def _batch(self) -> bytes:
        """The next events that Postgres has beyond `seq`; finds whether more, or nothing, comes."""
        told = events.told(self.topic or "", self.seq, BATCH, BATCH_BYTES)
        pieces = [self._from_past(seq, payload) for seq, payload in told.payloads]
        self.behind = bool(told.payloads) and told.newest > self.seq
        self._nears_end = told.state in OVER
        if told.state is None or (not self.follow and self._nears_end and not self.behind):
            self.over = True
            pieces.append(frames.END)
        return b"".join(pieces)

    def _from_past(self, seq: int, payload: Payload) -> bytes:
        self._sent(seq, payload["type"])
        return frames.frame(named(payload, self.legacy), str(seq))

    def _rendered(self, item: Item, position: str) -> bytes:
        key = (position, self.legacy)
        if key not in item.rendered:
            item.rendered[key] = frames.frame(named(payload_of(item.body), self.legacy), position)
        return item.rendered[key]

    def _sent(self, seq: int, kind: str) -> None:
        self.seq = seq
        self._nears_end = kind in events.FINAL or (self._nears_end and kind not in RESUMING)


class OpenStream:
    """Whatever happens, in the order it was told, as far as the caller may see it."""

    def __init__(
        self, source: Feed, principal: Principal, start: Entry | None, channel: Channel
    ) -> None:
        self.feed = source
        self.principal = principal
        self.topic: str | None = None
        self.topics = shown(principal, memberships([principal.id]).get(principal.id, ()))
        self.legacy = False
        self.seq = 0  # nothing here is numbered
        self.entry: Entry = START
        self.behind = True
        self.over = False
        self.unsure = False
        self._channel = channel
        self._opened = False
        self._start = start  # where a replay begins; None: from now on

    def deliver(self, item: Item) -> bytes:
        """The frame for one item, if the caller may see it and wants it."""
        body = item.body
        if self.over or body is None:
            return b""
        if item is GAP:
            return self._gap(self.entry)
        if item.entry <= self.entry:
            return b""
        self.entry = item.entry
        return self._framed(body, written(item.entry)) if self._sees(item) else b""

    def place(self) -> Hashable:
        """Nobody else's."""
        return None

    def catch_up_like(self, other: OpenStream) -> None:
        """Never asked: nobody shares its place."""

    def catch_up(self) -> bytes:
        """The channel's opening, then at most ten minutes and ten thousand entries; a batch.

        Who hears only what comes has nothing to fetch: if more came than was held for it meanwhile,
        it is told of a gap.
        """
        pieces: list[bytes] = []
        try:
            if not self._opened:
                pieces += self._open()
            elif self._start is None:
                pieces.append(self._gap(self.entry))
            if self._start is not None and not self.over:
                pieces += self._replayed(self._start)
            else:
                self.behind = False
        except redis.RedisError as error:
            log.info("nothing to replay", error=str(error))
            pieces.append(self._gap(self._start or START))
            self.behind = False
        except AWAY as error:
            log.warning("nothing to count", error=str(error).strip())
            self.behind = False
            self.over = self.over or not self._opened  # it comes again
        return b"".join(pieces)

    def _sees(self, item: Item) -> bool:
        """Whether it is the caller's, or of a project they work on; admins see everything."""
        return any(topic in self.topics for topic in item.topics)

    def _open(self) -> list[bytes]:
        with db.connection_context():
            pieces = list(self._channel.opening())
        self._opened = True
        self.over = pieces[-1:] == [frames.END]
        return pieces

    def _replayed(self, start: Entry) -> list[bytes]:
        """A batch; it begins with a gap where what came before is too old or is gone."""
        pieces = []
        earliest = (now_ms() - REPLAYED_MS, 0)
        since = max(self.entry, start)
        self.entry = max(since, earliest)
        items = self.feed.since(self.entry, BATCH)
        if since != START and (since < earliest or not self.feed.holds(since)):
            pieces.append(self._gap(since))
        if items and self._channel.shape is None:
            self.feed.count_for([self.principal])
        pieces += [self.deliver(item) for item in items]
        self.behind = len(items) == BATCH
        return pieces

    def _framed(self, body: Payload, position: str) -> bytes:
        payload: Payload | None = payload_of(body)
        if self._channel.shape is not None:
            payload = self._channel.shape(payload_of(body))
        elif body["type"] in COUNTED:
            payload = payload_of(body) | {"activeRuns": self.feed.running_runs(self.principal)}
        if payload is None:
            return b""
        self.over = self._channel.last(payload)
        end = frames.END if self.over else b""
        return frames.frame(named(payload, self.legacy), position) + end

    def _gap(self, start: Entry) -> bytes:
        told = events.payload("stream_gap", {"from": written(start)}, now_ms())
        return frames.frame(named(told, self.legacy))
