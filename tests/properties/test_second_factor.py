"""Codes: within a minute and a half, in order, each once; recovery codes however they are typed."""

from __future__ import annotations

import pyotp
from hypothesis import given
from hypothesis import strategies as st

from models import second_factor as factor

NOW = st.integers(10**12, 2 * 10**12)
SECRET = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"


def code_at(step: int) -> str:
    return pyotp.TOTP(SECRET).generate_otp(step)


@given(NOW, st.integers(-5, 5), st.integers(-5, 5))
def test_a_code_is_let_in_within_its_window_and_beyond_the_last_one(
    now: int, drift: int, last: int
):
    current = now // factor.STEP_MS
    asked, beyond = current + drift, current + last
    found = factor.step_of(SECRET, code_at(asked), beyond, now)
    if abs(drift) <= factor.DRIFT and asked > beyond:
        assert found is not None
    if found is not None:  # two steps may share a code, one in a million
        assert beyond < found
        assert abs(found - current) <= factor.DRIFT
        assert factor.step_of(SECRET, code_at(asked), current + factor.DRIFT, now) is None


@given(NOW, st.text(max_size=12))
def test_any_other_text_is_let_in_only_if_it_is_one_of_three_codes(now: int, text: str):
    codes = {code_at(now // factor.STEP_MS + drift) for drift in (-1, 0, 1)}
    if factor.step_of(SECRET, text, 0, now) is not None:
        assert len(codes & {text.strip()}) == 1 or not text.isascii()


@given(st.data())
def test_a_recovery_code_is_the_same_however_it_is_typed(data: st.DataObject):
    (code, *others) = factor.drawn_codes()
    assert len({code, *others}) == factor.CODES
    typed = "".join(
        data.draw(st.sampled_from((letter, letter.lower(), f" {letter}", f"{letter}\t-")))
        for letter in code
    )
    assert factor.bare(typed) == factor.bare(code)
    assert factor.is_recovery_code(typed)


@given(st.text(alphabet="0123456789 ", max_size=16))
def test_an_authenticators_code_is_no_recovery_code(text: str):
    assert factor.is_recovery_code(text) == (len(factor.bare(text)) == 16)
    assert not factor.is_recovery_code(text.strip()[:6])
