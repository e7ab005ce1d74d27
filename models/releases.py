"""Releases of this product: which is the newest, as far as we were told, and is it news."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Self

from peewee import CharField

from models.base import LongText, Model, Moment, now_ms

PLAIN = re.compile(r"v?(\d{1,9})\.(\d{1,9})\.(\d{1,9})")
TAG = re.compile(r"v\d{1,9}\.\d{1,9}\.\d{1,9}")
UNKNOWN, UNNAMED = ("", "unknown"), "latest"  # builds that do not say which they are
LONGEST_BODY = 20_000
FRESH_MS = 60_000  # nobody need ask again so soon


class Release(Model):
    """What the last check found; there is one row at most. No `version`: there is no release."""

    id = CharField(max_length=16, primary_key=True, default="newest")
    version = CharField(max_length=64, null=True)
    url = LongText(null=True)
    name = CharField(max_length=256, null=True)
    body = LongText(null=True)
    published_at = CharField(max_length=64, null=True)  # as ISO 8601
    checked_at = Moment(default=now_ms)

    class Meta:
        table_name = "releases"

    @classmethod
    def newest(cls) -> Self | None:
        """What is known, if anything was ever asked."""
        return cls.find("newest")

    @property
    def fresh(self) -> bool:
        return bool(self.checked_at > now_ms() - FRESH_MS)


def note(found: Mapping[str, Any]) -> None:
    """Write down what a check found."""
    Release.upsert(Release(**found).__data__)


def newest_of(listing: Any) -> dict[str, Any]:
    """The newest release proper in GitHub's list: no draft, no pre-release, tagged vX.Y.Z."""
    entries: Sequence[Any] = listing if isinstance(listing, list) else []
    known = [entry for entry in entries if isinstance(entry, dict) and _is_proper(entry)]
    if not known:
        return {}
    newest = max(known, key=lambda entry: number(entry["tag_name"]) or ())
    return {
        "version": newest["tag_name"],
        "url": _web_address(newest.get("html_url")),
        "name": _text(newest.get("name"), 256),
        "body": _text(newest.get("body"), LONGEST_BODY),
        "published_at": _text(newest.get("published_at"), 64),
    }


def is_news(current: str, newest: str | None, known: str | None = None) -> bool:
    """Whether `newest` is worth moving to from what runs here.

    A build that does not know itself is always behind; one called `latest` is judged by the
    `known` version of its API, if that is one. What cannot be compared is no news.
    """
    if newest is None:
        return False
    if current in UNKNOWN:
        return True
    here, there = number(known or "" if current == UNNAMED else current), number(newest)
    return here is not None and there is not None and there > here


def number(text: str) -> tuple[int, ...] | None:
    """(1, 2, 3) of `v1.2.3` or `1.2.3`; None of anything else."""
    found = PLAIN.fullmatch(text)
    return tuple(map(int, found.groups())) if found else None


def _is_proper(entry: Mapping[str, Any]) -> bool:
    tag = entry.get("tag_name")
    proper = isinstance(tag, str) and TAG.fullmatch(tag) is not None
    return proper and not entry.get("draft") and not entry.get("prerelease")


def _text(value: Any, most: int) -> str | None:
    return value[:most] if isinstance(value, str) else None


def _web_address(value: Any) -> str | None:
    """Browsers make links of it: nothing but https."""
    return value if isinstance(value, str) and value.startswith("https://") else None
