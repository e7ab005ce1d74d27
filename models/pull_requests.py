"""Pull requests as GitHub has them: finding, opening, and how one of them stands."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from models import github_app
from models.errors import NotFound, Unreachable
from models.github import Connection

NONE, PENDING, PASSING, FAILING = "none", "pending", "passing", "failing"
CI = (NONE, PENDING, PASSING, FAILING)
OPEN, CLOSED, MERGED = "open", "closed", "merged"
STATES = (OPEN, CLOSED, MERGED)
SECONDS = 12.0  # that all the questions about one pull request may take together
WELL = {"success", "neutral", "skipped"}  # conclusions of checks that hold nothing up
MERGEABLE = {"clean", "has_hooks", "unstable"}  # GitHub's states that let a merge through
JUDGED = {"APPROVED", "CHANGES_REQUESTED", "DISMISSED"}  # reviews that say more than a comment
LONGEST_TITLE, LONGEST_BODY = 256, 60_000


@dataclass(frozen=True)
class PullRequest:
    """A pull request; `mergeable` is None while GitHub is still finding out."""

    number: int
    url: str
    title: str
    state: str
    draft: bool
    branch: str
    base: str
    commit: str
    author: str = ""
    mergeable: bool | None = None
    lets_through: bool = False  # nothing that GitHub enforces stands in its way

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> PullRequest:
        """A pull request in GitHub's words."""
        merged = bool(told.get("merged_at") or told.get("merged"))
        return cls(
            number=int(told["number"]),
            url=str(told["html_url"]),
            title=str(told["title"]),
            state=MERGED if merged else str(told["state"]),
            draft=bool(told.get("draft")),
            branch=str(told["head"]["ref"]),
            base=str(told["base"]["ref"]),
            commit=str(told["head"]["sha"]),
            author=str((told.get("user") or {}).get("login") or ""),
            mergeable=told.get("mergeable"),
            lets_through=told.get("mergeable_state") in MERGEABLE,
        )


@dataclass(frozen=True)
class Review:
    """What somebody said of it as a whole; `at` is in ms."""

    user: str
    state: str
    at: int | None = None


@dataclass(frozen=True)
class Check:
    """Something that was tried with its last commit; `conclusion` is None until it is over."""

    name: str
    status: str
    conclusion: str | None = None
    url: str | None = None


@dataclass(frozen=True)
class Standing:
    """How a pull request does."""

    request: PullRequest
    reviews: tuple[Review, ...]
    checks: tuple[Check, ...]

    @property
    def ci_status(self) -> str:
        return ci_status(self.checks)

    @property
    def ready_to_merge(self) -> bool:
        return ready_to_merge(self)


def of_branch(connection: Connection, branch: str, state: str = OPEN) -> PullRequest | None:
    """The newest pull request of a branch of this repository; of forks' branches none."""
    head = f"{connection.repo_full_name.partition('/')[0]}:{branch}"
    asked = {"head": head, "state": state, "sort": "created", "direction": "desc", "per_page": 10}
    found = _asked(connection, f"/pulls?{urlencode(asked)}")
    own = (each for each in found if each["head"]["ref"] == branch)
    return next((PullRequest.of(each) for each in own), None)


def opened(connection: Connection, form: Mapping[str, Any]) -> PullRequest:
    """A new one, of `head` for `base`; Declined says why GitHub will have none."""
    return PullRequest.of(_asked(connection, "/pulls", json=dict(form)))


def standing(connection: Connection, number: int) -> Standing:
    """A pull request with its reviews and checks; Unreachable when that takes GitHub too long."""
    until = time.monotonic() + SECONDS
    request = PullRequest.of(_asked(connection, f"/pulls/{number}"))
    reviews = map(_review, _listed(until, connection, f"/pulls/{number}/reviews"))
    at = f"/commits/{request.commit}"
    checks = [
        *map(_check, _allowed(_listed(until, connection, f"{at}/check-runs", "check_runs"))),
        *map(_status, _allowed(_listed(until, connection, f"{at}/status", "statuses"))),
    ]
    return Standing(request, tuple(reviews), tuple(checks))


def ci_status(checks: Sequence[Check]) -> str:
    """What all checks come to: one that went wrong decides, then one that is not over yet."""
    if any(check.conclusion is not None and check.conclusion not in WELL for check in checks):
        return FAILING
    if any(check.conclusion is None for check in checks):
        return PENDING
    return PASSING if checks else NONE


def ready_to_merge(standing: Standing) -> bool:
    """Whether it could be merged now, and nobody who looked at it last objects."""
    request = standing.request
    fit = request.state == OPEN and not request.draft and request.mergeable is True
    quiet = standing.ci_status in (NONE, PASSING)
    return fit and request.lets_through and quiet and not objections(standing.reviews)


def objections(reviews: Iterable[Review]) -> set[str]:
    """Those whose last word (comments aside) asks for changes; reviews come in their order."""
    last = {review.user: review.state for review in reviews if review.state in JUDGED}
    return {user for user, state in last.items() if state == "CHANGES_REQUESTED"}


def _asked(connection: Connection, path: str, **body: Any) -> Any:
    return github_app.asked(connection.installation_id, connection.repo_full_name, path, **body)


def _listed(
    until: float, connection: Connection, path: str, name: str | None = None
) -> Iterator[Mapping[str, Any]]:
    where = connection.installation_id, connection.repo_full_name
    for each in github_app.listed(*where, path, name):
        if time.monotonic() > until:
            raise Unreachable("GitHub takes too long to tell about the pull request")
        yield each


def _allowed(found: Iterator[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """The same, or nothing where the App was not given the right to look."""
    with suppress(NotFound, github_app.Barred):
        yield from found


def _review(told: Mapping[str, Any]) -> Review:
    moment = told.get("submitted_at")
    at = int(datetime.fromisoformat(moment).timestamp() * 1000) if moment else None
    return Review(str((told.get("user") or {}).get("login") or "ghost"), str(told["state"]), at)


def _check(told: Mapping[str, Any]) -> Check:
    over = told["status"] == "completed"
    conclusion = str(told.get("conclusion") or "failure") if over else None
    return Check(str(told["name"]), str(told["status"]), conclusion, told.get("html_url"))


def _status(told: Mapping[str, Any]) -> Check:
    """A commit status, which is the older kind of check."""
    ends = {"success": "success", "failure": "failure", "error": "failure"}
    conclusion = ends.get(told["state"])
    status = "completed" if conclusion else "in_progress"
    return Check(str(told["context"]), status, conclusion, told.get("target_url"))
