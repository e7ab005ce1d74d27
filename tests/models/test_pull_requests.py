"""What GitHub's words about a pull request come to."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.pull_requests import (
    FAILING,
    NONE,
    PASSING,
    PENDING,
    Check,
    PullRequest,
    Review,
    Standing,
    ci_status,
    objections,
)

GOOD, BAD = ("success", "neutral", "skipped"), ("failure", "timed_out", "cancelled", "stale")
conclusions = st.sampled_from([*GOOD, *BAD, None])


@given(st.lists(conclusions))
def test_one_check_that_went_wrong_decides_then_one_that_is_not_over(ended: list[str | None]):
    checks = [Check(str(number), "any", each) for number, each in enumerate(ended)]
    if not ended:
        expected = NONE
    elif any(each in BAD for each in ended):
        expected = FAILING
    else:
        expected = PENDING if None in ended else PASSING
    assert ci_status(checks) == expected


def test_the_last_word_of_each_counts_and_comments_take_none_back():
    said = [
        ("anna", "CHANGES_REQUESTED"),
        ("ben", "CHANGES_REQUESTED"),
        ("anna", "COMMENTED"),
        ("ben", "APPROVED"),
        ("cleo", "APPROVED"),
    ]
    assert objections([Review(user, state) for user, state in said]) == {"anna"}


@pytest.mark.parametrize(
    ("facts", "ready"),
    [
        ({}, True),
        ({"draft": True}, False),
        ({"merged_at": "2026-11-20T09:30:00Z", "state": "closed"}, False),
        ({"state": "closed"}, False),
        ({"mergeable": None}, False),
        ({"mergeable": False}, False),
        ({"mergeable_state": "blocked"}, False),
        ({"mergeable_state": "unstable"}, True),
    ],
)
def test_it_is_ready_when_nothing_stands_in_its_way(facts: dict[str, object], ready: bool):
    told = {
        "number": 7,
        "html_url": "https://github.com/acme/todo/pull/7",
        "title": "One",
        "state": "open",
        "draft": False,
        "mergeable": True,
        "mergeable_state": "clean",
        "user": None,
        "head": {"ref": "feat/one", "sha": "a" * 40},
        "base": {"ref": "main"},
    }
    standing = Standing(PullRequest.of({**told, **facts}), (), ())
    assert standing.ready_to_merge is ready
