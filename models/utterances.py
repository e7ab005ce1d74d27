"""What an agent said and did in one turn of a chat, read off its run's events."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from models.base import db

# A reply ends with `turn_end`, or with `turn_cut` where something broke it off.
TOLD = """
    SELECT type, data::text FROM events WHERE run_id = %s AND seq > %s
        AND type IN ('turn_end', 'turn_cut', 'tool_call_start', 'tool_call_end')
    ORDER BY seq
"""
ENDING = frozenset({"turn_end", "turn_cut"})


# What no words come after that belong before it.
ENDED = """
    SELECT coalesce(max(seq), 0) FROM events WHERE run_id = %s AND seq <= %s
        AND type IN ('turn_end', 'turn_cut', 'message_ended')
"""
LAST = 2**31 - 1


@dataclass(frozen=True)
class Utterance:
    """All the words of a turn, what the model thought, and the tools that it called."""

    content: str = ""
    thinking: str | None = None
    tool_calls: list[dict[str, Any]] | None = None

    def columns(self) -> dict[str, Any]:
        """What the message that it belongs to keeps."""
        kept = {"content": self.content, "thinking": self.thinking}
        return {**kept, "tool_calls": self.tool_calls}


def since(run_id: str, seq: int | None) -> Utterance:
    """What has been said since event number `seq`; nothing where the turn has not begun."""
    if seq is None:
        return Utterance()
    rows = db.now(TOLD, (run_id, seq)).fetchall()
    return gathered((kind, orjson.loads(data)) for kind, data in rows)


def ended(run_id: str, seq: int = LAST) -> int:
    """The number of the event, up to number `seq`, with which the latest reply was over."""
    return int(db.now(ENDED, (run_id, seq)).fetchone()[0])


def gathered(events: Iterable[tuple[str, Mapping[str, Any]]]) -> Utterance:
    """The utterance that events tell of, in their order; notes that nobody heard are left out."""
    words: list[str] = []
    thoughts: list[str] = []
    calls: dict[str, dict[str, Any]] = {}
    for kind, data in events:
        if kind in ENDING:
            if not data.get("unheard"):
                words.append(data.get("text") or "")
                thoughts.append(data.get("thinking") or "")
        elif kind == "tool_call_start":
            begun = {"toolCallId": data["toolCallId"], "toolName": data["toolName"]}
            calls[data["toolCallId"]] = {**begun, "args": data["args"]}
        elif data["toolCallId"] in calls:
            ended = {name: data[name] for name in ("result", "isError", "durationMs")}
            calls[data["toolCallId"]] |= ended
    return Utterance("".join(words), "".join(thoughts) or None, list(calls.values()) or None)
