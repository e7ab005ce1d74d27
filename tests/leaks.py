"""Every test looks for the secrets that it told the application, wherever they might have got.

What a request says in a field that takes a secret (tests/guards/secrets.txt) is kept in mind until
the test is over: no answer may say it again, no table may hold it, and nothing printed or logged.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException

from tests.guards import canaries

SHORTEST = 12  # characters; what is shorter may stand anywhere by chance
# Issued by the application itself, which hands some of them out twice (two tabs, one refresh).
ISSUED = frozenset({"code", "totpCode", "refreshToken", "pendingToken", "token"})
DOCUMENT = "GET /openapi.json"  # whose examples are sent as they are
MASKED = frozenset("*.")  # what a listing shows of a secret may be sent back
DOCUMENT = "GET /openapi.json"  # whose examples the tests send
TOLD: set[str] = set()  # in this test
SEEN: list[str] = []  # where some of it was found


def watch(app: Flask) -> None:
    """Have the application's answers read, all of them but its streams."""
    fields = canaries.table()["secret"].keys()
    names = {field.rpartition(".")[2] for field in fields if field.startswith("json.")} - ISSUED
    shows = canaries.table()["shows"]

    def read(answer: Response) -> Response:
        with suppress(HTTPException):  # a body too large to be read tells nothing
            TOLD.update(_secrets(request.get_json(silent=True), names))
        route = f"{request.method} {request.url_rule and request.url_rule.rule}"
        if TOLD and route not in {*shows, DOCUMENT} and not answer.is_streamed:
            said = answer.get_data(as_text=True)
            SEEN.extend(f"the answer of {route}" for secret in TOLD if secret in said)
        return answer

    app.after_request(read)


def search_tables() -> None:
    """Look through every table that has rows."""
    if not TOLD:
        return
    for where, text in canaries.texts_of_database():
        SEEN.extend(where for secret in TOLD if secret in text)


def search_report(item: pytest.Item, report: pytest.TestReport) -> None:
    """Fail the test whose secrets were seen, in what it printed or before."""
    for _, name, text in item._report_sections:
        SEEN.extend(name for secret in TOLD if secret in text)
    if SEEN and report.passed:
        report.outcome = "failed"
        report.longrepr = (
            f"a secret that this test told was found in {', '.join(sorted(set(SEEN)))}"
        )
    TOLD.clear()
    SEEN.clear()


def _secrets(told: Any, names: set[str], inside: bool = False) -> Iterator[str]:
    """The texts below any of these names."""
    if isinstance(told, dict):
        for name, value in told.items():
            yield from _secrets(value, names, inside or name in names)
    elif isinstance(told, list):
        for value in told:
            yield from _secrets(value, names, inside)
    elif inside and isinstance(told, str) and len(told) >= SHORTEST and MASKED.isdisjoint(told):
        yield told
