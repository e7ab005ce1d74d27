"""The part of GitHub on the loopback that has to do with pull requests, as documented."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

Answer = tuple[int, Any]
KNOWN = "feat/known"  # a branch that has something which the others have not
MOMENT = "2026-11-20T09:30:00Z"


@dataclass
class Pulls:
    """The pull requests of one GitHub, and what is said about them."""

    all: list[dict[str, Any]] = field(default_factory=list)  # the oldest first
    branches: dict[str, str] = field(
        default_factory=lambda: {"trunk": "a" * 40, "main": "a" * 40, KNOWN: "b" * 40}
    )
    reviews: dict[int, list[dict[str, Any]]] = field(default_factory=dict)
    checks: list[dict[str, Any]] = field(default_factory=list)
    statuses: list[dict[str, Any]] = field(default_factory=list)
    opened: int = 0  # times GitHub was told to open one

    def review(self, number: int, user: str, state: str) -> None:
        told = {"user": {"login": user}, "state": state, "submitted_at": MOMENT, "body": ""}
        self.reviews.setdefault(number, []).append(told)

    def check(self, name: str, status: str, conclusion: str | None = None) -> None:
        told = {"name": name, "status": status, "conclusion": conclusion, "html_url": None}
        self.checks.append(told)

    def status(self, context: str, state: str) -> None:
        self.statuses.append({"context": context, "state": state, "target_url": None})

    def change(self, number: int, **facts: Any) -> None:
        next(each for each in self.all if each["number"] == number).update(facts)

    def list(self, name: str, query: dict[str, str]) -> Answer:
        owner, state = name.partition("/")[0], query.get("state", "open")
        found = [
            each
            for each in reversed(self.all)
            if query.get("head") in (None, f"{owner}:{each['head']['ref']}")
            and state in ("all", each["state"])
        ]
        return 200, found

    def one(self, number: str) -> Answer:
        found = [each for each in self.all if each["number"] == int(number)]
        return (200, found[0]) if found else (404, {"message": "Not Found"})

    def open(self, name: str, url: str, body: dict[str, Any]) -> Answer:
        self.opened += 1
        head, base = body["head"], body["base"]
        fault = next(iter(self._faults(name.partition("/")[0], head, base)), None)
        if fault is not None:
            return 422, {"message": "Validation Failed", "errors": [fault]}
        number = len(self.all) + 7
        made = {
            "number": number,
            "html_url": f"{url}/{name}/pull/{number}",
            "title": body["title"],
            "body": body.get("body"),
            "state": "open",
            "draft": body.get("draft", False),
            "merged_at": None,
            "mergeable": True,
            "mergeable_state": "clean",
            "user": {"login": "djinnbot[bot]"},
            "head": {"ref": head, "sha": self.branches[head], "repo": {"full_name": name}},
            "base": {"ref": base},
        }
        self.all.append(made)
        return 201, made

    def _faults(self, owner: str, head: str, base: str) -> Any:
        about = {"resource": "PullRequest"}
        for field_name, branch in (("head", head), ("base", base)):
            if branch not in self.branches:
                yield {**about, "field": field_name, "code": "invalid"}
        if self.branches.get(head) == self.branches.get(base):
            yield {**about, "code": "custom", "message": f"No commits between {base} and {head}"}
        for each in self.all:
            if each["state"] == "open" and (each["head"]["ref"], each["base"]["ref"]) == (
                head,
                base,
            ):
                told = f"A pull request already exists for {owner}:{head}."
                yield {**about, "code": "custom", "message": told}
