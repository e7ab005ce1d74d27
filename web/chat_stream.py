"""A chat as it goes on: its run's numbered events in a chat's words, and each reply as it is given.

A frame's id says what its client has: all up to event `seq`, and so many characters of the reply
that follows event `after`. What a reply's end finds untold comes with it, so nothing is lost or
told twice, whatever became of the pieces in between.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import redis
from flask import Response, g

from models import live_text, utterances
from models.base import now_ms
from models.chats import ChatSession
from models.live_text import TEXT, THINKING, TOOL_OUTPUT, Reply
from models.logs import log
from models.principals import Principal
from models.runs import Run
from models.sessions import Session
from web import frames
from web.channels import session_events
from web.chat_words import OVER, PIECES, in_words, printed
from web.feed import Feed
from web.handover import Streaming
from web.items import Item, Payload, payload_of
from web.positions import ChatPosition, RunPosition, chat_position
from web.resources import visible
from web.stream import RunStream, asked_position, feed

EARLY = 20  # pieces of a tool's output


def of_chat(chat: ChatSession, form: Mapping[str, Any]) -> Response:
    """All that happens in a chat, from its beginning unless the client says where to begin."""
    start = chat_position(asked_position(form, "0"))
    run = Run.find(chat.id)
    if run is None:
        raise ChatSession.missing(chat.id)
    return Streaming(feed(), ChatStream(feed(), g.principal, run, start))


def of_session(session_id: str, form: Mapping[str, Any]) -> Response:
    """A chat, or another session of an agent: what happened in it, then what happens."""
    chat = ChatSession.visible_to(g.principal).where(ChatSession.id == session_id).first()
    if chat is not None:
        return of_chat(chat, form)
    session = visible(Session, session_id)
    run = Run.find(session.run_id or "")
    if run is None:
        raise Run.missing(session.run_id or "")
    return session_events(session, run, dict(form))


class ChatStream(RunStream):
    """A chat for one client; it stays open after the end, because a chat may go on."""

    def __init__(self, source: Feed, principal: Principal, run: Run, start: ChatPosition) -> None:
        super().__init__(source, principal, run, RunPosition(start.seq))
        self.follow = True
        self._ended: int | None = None  # the event with which the latest reply told was over
        self._after = start.after  # which reply the client has a part of, and how much
        self._told = {TEXT: start.text, THINKING: start.thinking}
        self._greeted = False
        self._early: list[Payload] = []  # what tools print of whose beginning we have not heard
        self._done = ""  # the tool call that ended last

    def deliver(self, item: Item) -> bytes:
        """The frames for one item, or nothing: it was sent, or others before it are missing."""
        body = item.body
        if body is None or body["seq"] is not None:
            return super().deliver(item)
        if body["type"] == TOOL_OUTPUT:
            return self._printed(payload_of(body))
        if body["type"] not in PIECES or "after" not in body["data"]:
            return b""
        data = body["data"]
        if self._ended is None or data["after"] > self.seq:
            self.behind = True
            return b""
        return self._piece(body["type"], data, body["at"])

    def place(self) -> Hashable:
        """Nobody else's: each may have another part of the reply."""
        return None

    def catch_up(self) -> bytes:
        """A batch of the past; with the last one, `connected` and the reply under way so far."""
        reply = self._under_way()  # before the events: what it follows is among them then
        piece = super().catch_up()
        if self.behind or self.unsure or self.over:
            return piece
        if not self._greeted:
            self._greeted = True
            piece += frames.frame({"type": "connected", "session_id": self.topic})
        return piece + self._so_far(reply)

    def _printed(self, payload: Payload) -> bytes:
        """What a tool prints, if it has begun for the client and not ended; it is told once."""
        if payload["toolCallId"] == self._done:
            return b""
        if payload["after"] <= self.seq:
            return self._framed(printed(payload), self._position())
        self._early = [*self._early, payload][-EARLY:]
        return b""

    def _under_way(self) -> Reply:
        if not self.feed.redis_url:
            return Reply()
        try:
            return live_text.kept(self.feed.redis_url, self.topic or "")
        except redis.RedisError as error:
            log.info("no part of a reply", error=str(error))
            return Reply()

    def _so_far(self, reply: Reply) -> bytes:
        if not reply.after or reply.after > self.seq or reply.after < (self._ended or 0):
            return b""
        pieces = [self._turned_to(reply.after)] if reply.after >= self._after else []
        if reply.after == self._after:
            pieces += [self._rest(kind, reply.said(kind)) for kind in (THINKING, TEXT)]
        return b"".join(pieces)

    def _piece(self, kind: str, data: Mapping[str, Any], at: int) -> bytes:
        """What is new of a piece; one with a gap before it is fetched with what is missing."""
        if data["after"] < max(self._after, self._ended or 0):
            return b""  # of a reply that is over, or that another worker gives anew
        again = self._turned_to(data["after"])
        known = self._told[kind]
        if data["offset"] > known:
            self.behind = True
            return again
        return again + self._said(kind, data["chunk"][known - data["offset"] :], at)

    def _turned_to(self, after: int) -> bytes:
        """Go over to a reply; where the client has a part of another one, that is taken back."""
        if after == self._after:
            return b""
        told = any(self._told.values())
        self._after, self._told = after, {TEXT: 0, THINKING: 0}
        return self._framed({"type": "output_reset", "data": {}}, self._position()) if told else b""

    def _rest(self, kind: str, said: str) -> bytes:
        return self._said(kind, said[self._told[kind] :])

    def _said(self, kind: str, words: str, at: int | None = None) -> bytes:
        if not words:
            return b""
        self._told[kind] += len(words)
        told = {"type": PIECES[kind][0], "data": {PIECES[kind][1]: words}}
        return self._framed(told if at is None else {**told, "timestamp": at}, self._position())

    def _position(self) -> str:
        return f"{self.seq}.{self._after}.{self._told[TEXT]}.{self._told[THINKING]}"

    def _batch(self) -> bytes:
        if self._ended is None:
            self._ended = utterances.ended(self.topic or "", self.seq)
        return super()._batch()

    def _from_past(self, seq: int, payload: Payload) -> bytes:
        return self._happened(seq, payload)

    def _rendered(self, item: Item, position: str) -> bytes:
        return self._happened(int(position), payload_of(item.body))

    def _happened(self, seq: int, payload: Payload) -> bytes:
        """The frames for an event; the end of a reply brings what is untold of it."""
        pieces = b""
        if payload["type"] in OVER:
            self.seq = seq - 1  # until the client has all of it
            pieces = self._end_of_reply(payload)
            self._ended, self._after, self._told = seq, 0, {TEXT: 0, THINKING: 0}
        self._sent(seq, payload["type"])
        told = in_words(payload)
        pieces += b"" if told is None else self._framed(told, str(seq))
        return pieces + self._printed_early(payload)

    def _printed_early(self, event: Payload) -> bytes:
        if event["type"] == "tool_call_end":
            self._done = event["toolCallId"]
        waiting, self._early = self._early, []
        return b"".join(map(self._printed, waiting))

    def _end_of_reply(self, payload: Payload) -> bytes:
        if "after" not in payload:
            return b""
        turned = self._turned_to(payload["after"])
        kinds = ((THINKING, "thinking"), (TEXT, "text"))
        return turned + b"".join(self._rest(kind, payload[name]) for kind, name in kinds)

    def _framed(self, told: Payload, position: str) -> bytes:
        stamped = {"timestamp": now_ms(), **told, "stream_id": position}
        return frames.frame(stamped, position)
