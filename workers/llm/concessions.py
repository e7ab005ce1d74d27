"""Asking again in the way a server can take: what it complained of, changed or left out.

No table of models can keep up with which of them refuse a temperature, how many tokens they may
write or whether they know JSON Schema. The servers say so in their 400, so we listen.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

Request = dict[str, Any]
Concession = tuple[re.Pattern[str], Callable[[Request, str], Request | None]]


def concede(table: Sequence[Concession], request: Request, complaint: str) -> Request | None:
    """The request without what `complaint` is about; None when nothing of it can be changed."""
    for pattern, amend in table:
        if pattern.search(complaint):
            amended = amend(request, complaint)
            if amended is not None:
                return amended
    return None


class Concessions:
    """What one server has complained of so far; later requests need not be refused first."""

    MOST = 6

    def __init__(self, table: Sequence[Concession]) -> None:
        self._table = table
        self._complaints: list[str] = []

    def applied(self, request: Request) -> Request:
        """The request as this server is known to take it."""
        for complaint in self._complaints:
            request = concede(self._table, request, complaint) or request
        return request

    def amended(self, request: Request, complaint: str) -> Request | None:
        """The request changed as a new complaint asks; None when it cannot be, or too often was."""
        made = concede(self._table, request, complaint)
        if made is None or len(self._complaints) >= self.MOST:
            return None
        self._complaints.append(complaint)
        return made


def without(*keys: str) -> Callable[[Request, str], Request | None]:
    """A concession that leaves keys out."""

    def amend(request: Request, _complaint: str) -> Request | None:
        if not any(key in request for key in keys):
            return None
        return {key: value for key, value in request.items() if key not in keys}

    return amend


def renamed(old: str, new: str) -> Callable[[Request, str], Request | None]:
    """A concession that says the same under another key."""

    def amend(request: Request, _complaint: str) -> Request | None:
        if old not in request:
            return None
        rest = {key: value for key, value in request.items() if key != old}
        return {**rest, new: request[old]}

    return amend


def lowered(key: str) -> Callable[[Request, str], Request | None]:
    """A concession that takes the highest limit the complaint names below the one asked for."""

    def amend(request: Request, complaint: str) -> Request | None:
        asked = request.get(key)
        if asked is None:
            return None
        named = [int(number.replace(",", "")) for number in re.findall(r"\d[\d,]*", complaint)]
        allowed = [number for number in named if 256 <= number < asked]
        return {**request, key: max(allowed)} if allowed else None

    return amend
