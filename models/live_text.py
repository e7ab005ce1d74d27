"""The reply that an agent is giving, piece by piece, for whoever comes in the middle of it.

Redis keeps it beside the stream until the next reply begins, or for ten minutes. It may be lost at
any moment: the whole reply is durable as soon as it has ended.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from models import streams

TEXT, THINKING = "agent_output", "agent_thinking"
TOOL_OUTPUT = "tool_output"  # what a tool prints while it works; nobody keeps that
KEPT_SECONDS = 600

Piece = Mapping[str, Any]  # `after`, `kind`, `offset`, `chunk`


@dataclass(frozen=True)
class Reply:
    """The words and thoughts of a reply so far; it follows event number `after` of its run."""

    after: int = 0
    text: str = ""
    thinking: str = ""
    pieces: int = 0

    def said(self, kind: str) -> str:
        """All that it has of one kind."""
        return self.text if kind == TEXT else self.thinking


def key_of(run_id: str) -> str:
    """Where the reply under way in this run is."""
    return f"djinn:reply:{run_id}"


def tell(url: str, run_id: str, piece: Piece, body: Mapping[str, Any], new: bool) -> int:
    """Keep a piece and tell the stream of it, in one round trip; gives how many are kept.

    A `new` reply takes the place of the one before.
    """
    key, pipeline = key_of(run_id), streams.client(url).pipeline(transaction=True)
    if new:
        pipeline.delete(key)
    pipeline.rpush(key, orjson.dumps(piece))
    pipeline.expire(key, KEPT_SECONDS)
    streams.append(pipeline, body)
    return int(pipeline.execute()[1 if new else 0])


def replace(url: str, run_id: str, pieces: Iterable[Piece]) -> None:
    """Keep these pieces and no others: some were lost."""
    key, pipeline = key_of(run_id), streams.client(url).pipeline(transaction=True)
    pipeline.delete(key)
    pipeline.rpush(key, *map(orjson.dumps, pieces))
    pipeline.expire(key, KEPT_SECONDS)
    pipeline.execute()


def kept(url: str, run_id: str) -> Reply:
    """The reply as far as it is kept."""
    rows: Any = streams.client(url).lrange(key_of(run_id), 0, -1)
    return joined([orjson.loads(row) for row in rows])


def joined(pieces: Sequence[Piece]) -> Reply:
    """The reply that pieces make; what comes after a gap is left out."""
    said = {TEXT: "", THINKING: ""}
    after = pieces[0]["after"] if pieces else 0
    for piece in pieces:
        known = len(said[piece["kind"]])
        if piece["after"] == after and piece["offset"] <= known:
            said[piece["kind"]] += piece["chunk"][known - piece["offset"] :]
    return Reply(after, said[TEXT], said[THINKING], len(pieces))
