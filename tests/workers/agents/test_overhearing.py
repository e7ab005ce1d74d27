"""What tools print while they work is heard live, in good time, and never with a secret in it."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models import streams
from models.masking import without
from models.runs import Run
from models.steps import Step
from workers.agents import overhearing
from workers.agents.overhearing import Overhearing
from workers.sandboxes.discreet import Muffled

SECRETS = ("abab-secret", "secret-cd", "abab", "cdcdcdcd")
CALL = {"toolName": "bash", "toolCallId": "c-1", "sessionId": "s-1", "after": 3}
Words = st.lists(st.sampled_from(["ab", "-", "secret", "cd", "a", "t-c", "x"]), max_size=30)


@given(Words, st.data())
def test_no_secret_is_heard_however_the_pieces_divide_it(words: list[str], data: st.DataObject):
    text = "".join(words)
    ends = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=8)))
    heard: list[str] = []
    muffled = Muffled(heard.append, SECRETS)
    for start, end in zip([0, *ends], [*ends, len(text)], strict=True):
        muffled.hear(text[start:end])
        assert not [secret for secret in SECRETS if secret in "".join(heard)]
    muffled.end()
    said = "".join(heard)
    assert not [secret for secret in SECRETS if secret in said]
    if text == without(text, SECRETS):
        assert said == text


def test_only_what_may_begin_a_secret_is_held_back():
    heard: list[str] = []
    muffled = Muffled(heard.append, ["x" * 5000, "token-1234"])
    muffled.hear("50 % done\n")
    muffled.hear("and a tok")
    assert "".join(heard) == "50 % done\nand a "
    muffled.hear("en-1234 in the middle")
    assert "".join(heard) == "50 % done\nand a *** in the middle"


def test_what_never_turns_out_to_be_harmless_is_not_heard_and_not_kept():
    heard: list[str] = []
    muffled = Muffled(heard.append, ["abca", "ad"])
    for _ in range(40):
        muffled.hear("abca" * 1000)  # its last letter may always begin another
    muffled.end()
    assert set("".join(heard)) <= {"*"}


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch, stream: str) -> Any:
    def frames() -> list[dict[str, Any]]:
        rows = streams.client(stream).xrange(streams.KEY)
        return [each["data"] for each in streams.decoded(rows)]

    return frames


@pytest.fixture
def ear(stream: str) -> Overhearing:
    run = Run(id="run_1", owner_id="usr_owner")
    return Overhearing(run, Step(id="s1", step_id="FIX"), stream)


def test_the_first_piece_is_told_at_once_and_the_next_soon(ear: Overhearing, told: Any):
    ear.begins(CALL)
    ear.hear("one\n")
    assert [each["chunk"] for each in told()] == ["one\n"]
    ear.hear("two\n")
    ear.hear("three\n")
    until = time.monotonic() + 20
    while len(text := "".join(each["chunk"] for each in told())) < 14 and time.monotonic() < until:
        time.sleep(0.02)
    assert text == "one\ntwo\nthree\n"
    first = told()[0]
    assert (first["toolCallId"], first["stream"], first["runId"]) == ("c-1", "stdout", "run_1")


def test_nothing_of_a_tool_comes_after_its_answer(ear: Overhearing, told: Any):
    ear.begins(CALL)
    ear.hear("one")
    ear.hear(" two")
    ear.ends()
    ear.hear("late")
    time.sleep(overhearing.FRAME_SECONDS * 2)
    assert "".join(each["chunk"] for each in told()) == "one two"


def test_a_tool_that_never_stops_printing_fills_no_stream(ear: Overhearing, told: Any):
    ear.begins(CALL)
    for _ in range(200):
        ear.hear("0123456789" * 1000)
        ear._flush()
    ear.ends()
    chunks = [each["chunk"] for each in told()]
    assert len(chunks) == overhearing.LONGEST / overhearing.LONGEST_FRAME
    assert chunks[0].startswith("\n[... 2000 characters ...]\n")
    assert chunks[-1].endswith(overhearing.ENOUGH)


def test_without_redis_a_tool_works_on(ear: Overhearing):
    ear.redis_url = "redis://127.0.0.1:1/0"
    ear.begins(CALL)
    for _ in range(3):
        ear.hear("x")
        ear._flush()
    ear.ends()
