"""What may be shown of a secret, and blotting it out."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from models.masking import HIDDEN, lines, without

KEY = "-----BEGIN KEY-----\nb3BlbnNzaC1rZXktdjEAAA\nshort\n-----END KEY-----\n"
TEXTS = st.text("abcdefgh", min_size=4, max_size=12)


@given(st.lists(TEXTS, min_size=1, max_size=5), st.text("xyz "))
def test_nothing_that_is_hidden_is_left(secrets: list[str], between: str):
    told = without(between.join(secrets), secrets)
    assert not any(secret in told for secret in secrets)


def test_of_a_key_with_lines_each_telling_line_is_hidden():
    told = without(f"the middle is {KEY.splitlines()[1]}.", lines(KEY))
    assert told == f"the middle is {HIDDEN}."
    assert "short" in lines(KEY) or without("short", lines(KEY)) == "short"
    assert without("-----BEGIN KEY-----", lines(KEY)) == "-----BEGIN KEY-----"
