"""What a webhook event says, in the words that deciding needs. Pure; trusts no payload's shape.

The shapes are those of docs.github.com/webhooks/webhook-events-and-payloads.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

TRUSTED = {"OWNER", "MEMBER", "COLLABORATOR"}  # associations of people who may write there
LONGEST = 20_000  # characters of a text that an agent is given
SUBJECTS: Mapping[str, tuple[str, str]] = {  # what an event is about, and what people call it
    "issues": ("issue", "Issue"),
    "issue_comment": ("issue", "Issue"),
    "pull_request": ("pull_request", "Pull request"),
    "pull_request_review": ("pull_request", "Pull request"),
    "pull_request_review_comment": ("pull_request", "Pull request"),
    "discussion": ("discussion", "Discussion"),
    "discussion_comment": ("discussion", "Discussion"),
}
SPOKEN: Mapping[tuple[str, str | None], str] = {  # where somebody has just said something
    ("issues", "opened"): "issue",
    ("issue_comment", "created"): "comment",
    ("pull_request", "opened"): "pull_request",
    ("pull_request_review", "submitted"): "review",
    ("pull_request_review_comment", "created"): "comment",
    ("discussion", "created"): "discussion",
    ("discussion_comment", "created"): "comment",
}
COMMENTS = {"comment", "review"}


@dataclass(frozen=True)
class Facts:
    """An event, read. `paths` is None where GitHub has not told which files are concerned."""

    kind: str
    action: str | None = None
    repository: str = ""
    author: str = ""  # who did it
    labels: frozenset[str] = frozenset()
    paths: tuple[str, ...] | None = None
    number: int | None = None
    noun: str = "Event"
    title: str = ""
    url: str = ""
    body: str = ""
    comment: str = ""
    said: str = ""  # what has just been said, and may mention somebody
    trusted: bool = False  # whether it was said by somebody who may write there
    by_bot: bool = False
    branch: str = ""  # of a pull request
    own_branch: bool = False  # that branch lies in the repository itself, not in a fork
    draft: bool = False
    merged: bool = False

    @property
    def subject(self) -> str:
        """What it is about, for people."""
        if self.number is None:
            return f"{self.kind} in {self.repository}"
        return f"{self.noun} #{self.number} of {self.repository}"

    @property
    def change(self) -> tuple[str, str | None]:
        return self.kind, self.action

    @property
    def wants_review(self) -> bool:
        """A pull request of a task's branch is ready to be looked at."""
        ready = self.kind == "pull_request" and self.action in {"opened", "ready_for_review"}
        return ready and self.own_branch and not self.draft and self.branch.startswith("feat/")


def read(kind: str, payload: Mapping[str, Any]) -> Facts:
    """The facts of an event; what is not there, or not as GitHub writes it, is left out."""
    action = text(payload, "action") or None
    part, noun = SUBJECTS.get(kind, ("", "Event"))
    if at(payload, part, "pull_request"):  # of which comments speak as of issues
        noun = "Pull request"
    spoken = SPOKEN.get((kind, action), "")
    repository = text(payload, "repository", "full_name")
    number = at(payload, part, "number")
    return Facts(
        kind=kind,
        action=action,
        repository=repository,
        author=text(payload, "sender", "login"),
        labels=frozenset(_labels(payload, part, action)),
        paths=tuple(_pushed_paths(payload)) if kind == "push" else None,
        number=number if isinstance(number, int) else None,
        noun=noun,
        title=text(payload, part, "title"),
        url=text(payload, part, "html_url"),
        body=text(payload, part, "body"),
        comment=text(payload, spoken, "body") if spoken in COMMENTS else "",
        said=text(payload, spoken, "body"),
        trusted=text(payload, spoken, "author_association") in TRUSTED,
        by_bot=text(payload, "sender", "type") == "Bot",
        branch=text(payload, "pull_request", "head", "ref"),
        own_branch=text(payload, "pull_request", "head", "repo", "full_name") == repository != "",
        draft=at(payload, "pull_request", "draft") is True,
        merged=at(payload, "pull_request", "merged") is True,
    )


def _labels(payload: Mapping[str, Any], part: str, action: str | None) -> Iterator[str]:
    """The labels it has; when one was just put on or taken off, that one alone.

    Otherwise the second of two labels would call again whom the first has called.
    """
    if action in {"labeled", "unlabeled"}:
        yield text(payload, "label", "name").lower()
        return
    for label in items(payload, part, "labels"):
        yield text(label, "name").lower()


def _pushed_paths(payload: Mapping[str, Any]) -> Iterator[str]:
    for commit in items(payload, "commits"):
        for way in ("added", "modified", "removed"):
            yield from (path for path in items(commit, way) if isinstance(path, str))


def at(part: Any, *path: str) -> Any:
    """What lies there, None where nothing does."""
    for name in path:
        part = part.get(name) if isinstance(part, Mapping) else None
    return part


def text(part: Any, *path: str) -> str:
    """The text that lies there, cut to what an agent is given; empty where none does."""
    found = at(part, *path)
    return found[:LONGEST] if isinstance(found, str) else ""


def items(part: Any, *path: str) -> Sequence[Any]:
    """The list that lies there, empty where none does."""
    found = at(part, *path)
    return found if isinstance(found, list) else []
