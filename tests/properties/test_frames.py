"""Server-sent events survive the wire, and positions are read as they were written."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.errors import Invalid
from web import frames
from web.positions import RunPosition, entry_of, entry_position, run_position, written

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
JSON = st.recursive(st.none() | st.booleans() | st.integers(-(2**53), 2**53) | TEXT, st.lists)
ENTRIES = st.tuples(st.integers(0, 2**63 - 1), st.integers(0, 2**63 - 1))


def parsed(stream: bytes) -> list[tuple[str, str, Any]]:
    """(event, id, data) of each frame, as the WHATWG's algorithm reads them."""
    found, event, last, data = [], "message", "", []
    for line in stream.decode().split("\n"):
        if not line:
            if data:
                found.append((event, last, json.loads("\n".join(data))))
            event, data = "message", []
            continue
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            data.append(value)
        elif name == "event":
            event = value
        elif name == "id":
            last = value
    return found


@pytest.mark.slow
@given(st.lists(st.tuples(st.dictionaries(TEXT, JSON), st.integers(1, 10**9))))
def test_frames_are_read_as_they_were_sent(sent: list[tuple[dict[str, Any], int]]) -> None:
    stream = frames.RETRY + b"".join(
        frames.frame(payload, str(seq)) + frames.comment("a\nb: c") for payload, seq in sent
    )
    assert parsed(stream) == [("message", str(seq), payload) for payload, seq in sent]


def test_a_frame_holds_what_is_nested_deeply_and_any_number() -> None:
    deep: Any = [10**30]
    for _ in range(400):
        deep = [deep]
    assert parsed(frames.frame({"deep": deep}, "1")) == [("message", "1", {"deep": deep})]


def test_signs_of_life_are_no_messages() -> None:
    events = [event for event, _, _ in parsed(frames.HEARTBEAT + frames.END)]
    assert events == ["heartbeat", "end"]


@given(st.integers(0, 10**9 - 1), ENTRIES)
def test_positions_are_read_as_they_were_written(seq: int, entry: tuple[int, int]) -> None:
    assert entry_of(written(entry)) == entry
    assert run_position(str(seq)) == RunPosition(seq)
    assert run_position(f"{seq}.{written(entry)}") == RunPosition(seq, entry)


@pytest.mark.parametrize("text", ["", "x", "-1", "1.2", "1-2-3", "1" * 30, "٣", "1\n"])
def test_garbage_is_no_position(text: str) -> None:
    with pytest.raises(Invalid):
        run_position(text)
    if text not in {"-1", "1.2"}:
        with pytest.raises(Invalid):
            entry_position(text)


def test_the_beginning_and_the_present_have_names() -> None:
    assert run_position("0") == run_position("0-0") == RunPosition(0)
    assert run_position("$") == RunPosition(None)
    assert entry_position("$") is None
    assert entry_position("0") == (0, 0)
