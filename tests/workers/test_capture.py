"""Keeping the beginning and the end of what a command prints."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from workers.sandboxes.capture import Capture

SECRET = b"secret-of-24-characters!"


@given(st.integers(0, 600), st.integers(0, 2000))
def test_a_cut_never_leaves_half_a_line(before: int, after: int):
    capture = Capture(1000)
    for piece in (b"x\n" * before, SECRET + b"\n", b"y\n" * after):
        capture.add(piece)
    left = capture.text.replace(SECRET.decode(), "")
    assert not set(left) - set("xy\n[. bytes left out]0123456789")
    assert capture.truncated == (2 * before + len(SECRET) + 1 + 2 * after > 1000)


@given(st.lists(st.binary(max_size=300), max_size=30))
def test_it_says_how_much_was_left_out(pieces: list[bytes]):
    capture = Capture(500)
    for piece in pieces:
        capture.add(piece)
    whole = b"".join(pieces)
    if len(whole) <= 500:
        assert capture.text == whole.decode(errors="replace")
    else:
        assert "bytes left out" in capture.text


def test_a_line_that_is_longer_than_all_there_is_is_cut_in_the_middle():
    capture = Capture(10_000)
    capture.add(b"title\n" + b"x" * 100_000)
    assert capture.text.startswith("title\n" + "x" * 4_000)
    assert capture.text.endswith("x" * 5_000)
