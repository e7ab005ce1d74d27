"""Cookie files: whatever is in them is read without a stumble, and what is written is read back."""

from __future__ import annotations

from http.cookiejar import MozillaCookieJar
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models import netscape
from models.netscape import HEADER, Cookie

WORDS = st.text(
    st.characters(min_codepoint=0x20, exclude_characters="\x7f", exclude_categories=["Cs"])
)
DOMAINS = st.from_regex(r"\.?[a-z0-9-]{1,20}(\.[a-z0-9-]{1,20}){0,3}", fullmatch=True)
COOKIES = st.builds(
    Cookie,
    domain=DOMAINS,
    subdomains=st.booleans(),
    path=WORDS,
    secure=st.booleans(),
    expires=st.integers(-(10**15) + 1, 10**15 - 1),
    name=WORDS.filter(bool),
    value=WORDS,
    http_only=st.booleans(),
)
LINE = "github.com\tFALSE\t/\tTRUE\t1900000000\tuser_session\tabc"


@given(st.lists(COOKIES, max_size=20))
def test_what_was_written_is_read_back(cookies: list[Cookie]):
    assert netscape.parse(netscape.render(cookies)) == cookies


@given(st.text() | st.text("\t\r\n#.aTRUE0/_").map(lambda text: LINE + text))
def test_any_text_can_be_read_and_what_was_read_stays_as_it_is(text: str):
    once = netscape.parse(text)
    assert netscape.parse(netscape.render(once)) == once


@given(st.lists(COOKIES, min_size=1), st.sampled_from(["\n", "\r\n", "\r"]), st.text("# x"))
def test_comments_blanks_and_other_line_ends_change_nothing(
    cookies: list[Cookie], end: str, comment: str
):
    written = netscape.render(cookies).split("\n")
    mixed = [part for line in written for part in (line, "", f"#{comment}")]
    assert netscape.parse("\ufeff" + end.join(mixed)) == cookies


@given(st.lists(COOKIES, min_size=1))
def test_the_domain_is_the_most_frequent_and_the_expiry_the_first_that_comes(cookies: list[Cookie]):
    bare = [cookie.domain.removeprefix(".") for cookie in cookies]
    assert bare.count(netscape.main_domain(cookies)) == max(map(bare.count, bare))
    later = [cookie.expires for cookie in cookies if cookie.expires > 0]
    assert netscape.first_expiry(cookies) == (min(later) if later else None)


def test_a_cookie_that_scripts_may_not_see_is_a_cookie():
    (cookie,) = netscape.parse(f"{HEADER}\n#HttpOnly_{LINE}\n# {LINE}\n")
    assert (cookie.domain, cookie.http_only) == ("github.com", True)


@pytest.mark.parametrize(
    "line",
    [
        "github.com\tFALSE\t/\tTRUE\t1900000000\tname",
        LINE + "\tmore",
        LINE.replace("TRUE", "yes"),
        LINE.replace("1900000000", "tomorrow"),
        LINE.replace("1900000000", "9" * 400),
        LINE.replace("1900000000", "\u0661"),
        LINE.replace("abc", "a\x00c"),
        LINE.replace("abc", "a\x1bc"),
        LINE.replace("github.com", "."),
        LINE.replace("github.com", "x" * 256),
        LINE.replace("user_session", ""),
        LINE.replace("\t", " "),
    ],
)
def test_a_line_that_is_no_cookie_is_passed_over(line: str):
    assert netscape.parse(f"{line}\n{LINE}\n") == netscape.parse(LINE)


def test_other_readers_of_the_format_take_our_files(tmp_path: Path):
    text = f"#HttpOnly_{LINE}\n.github.com\tTRUE\t/\tFALSE\t1900000000.5\tlogged_in\t\n"
    file = tmp_path / "cookies.txt"
    file.write_text(netscape.render(netscape.parse(text)))
    jar = MozillaCookieJar(file)
    jar.load(ignore_expires=True)
    assert [cookie.name for cookie in jar] == ["user_session", "logged_in"]
