"""Which release is the newest, and whether that is news."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models import releases
from models.releases import is_news, newest_of, number

VERSIONS = st.tuples(*[st.integers(0, 999)] * 3)


@given(VERSIONS, VERSIONS, st.sampled_from(["", "v"]), st.sampled_from(["", "v"]))
def test_a_release_is_news_when_its_number_is_higher(here, there, prefix, other):
    current, newest = (f"{p}{a}.{b}.{c}" for p, (a, b, c) in ((prefix, here), (other, there)))
    assert is_news(current, newest) == (there > here)


@pytest.mark.parametrize(
    ("current", "newest", "known", "news"),
    [
        ("", "v1.0.0", None, True),
        ("unknown", "v1.0.0", None, True),
        ("unknown", None, None, False),
        ("latest", "v1.0.0", None, False),
        ("latest", "v1.0.0", "v0.9.0", True),
        ("latest", "v1.0.0", "dev", False),
        ("dev", "v1.0.0", None, False),
        ("v1.0.0-rc1", "v1.0.0", None, False),
        ("v1.0.0", "nightly", None, False),
        ("v1.9.0", "v1.10.0", None, True),
    ],
)
def test_what_cannot_be_compared_is_no_news(current, newest, known, news):
    assert is_news(current, newest, known) is news


def test_the_newest_is_the_highest_of_the_releases_proper():
    def entry(tag: Any, **more: Any) -> dict[str, Any]:
        return {"tag_name": tag, "html_url": f"https://releases.example/{tag}", "body": "x", **more}

    listing = [
        entry("v2.0.0", draft=True),
        entry("v3.0.0", prerelease=True),
        entry("v4.0.0-rc1"),
        entry("5.0.0"),
        entry(None),
        "v6.0.0",
        entry("v1.9.0"),
        entry("v1.10.0", name="Ten", body="y" * 50_000, published_at="2026-11-01T12:00:00Z"),
        entry("v1.2.0"),
    ]
    found = newest_of(listing)
    assert (found["version"], found["name"]) == ("v1.10.0", "Ten")
    assert len(found["body"]) == releases.LONGEST_BODY
    assert newest_of([entry("v1.0.0", html_url="javascript:alert(1)")])["url"] is None


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["tag_name", "x"]), inner),
    )
)
def test_whatever_is_answered_is_taken_calmly(listing: Any):
    found = newest_of(listing)
    assert not found or number(found["version"]) is not None
