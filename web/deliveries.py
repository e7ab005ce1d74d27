"""Webhooks as they arrive: limited while they stream, and nothing of them is believed unsigned.

Anybody may send one. So the order is size, signature over the raw bytes, and only then headers and
JSON; up to there the body lies in a file, not in memory, once it is larger than `IN_MEMORY`.
"""

from __future__ import annotations

import time
from tempfile import SpooledTemporaryFile
from typing import IO, Any

import orjson
from flask import request
from gunicorn.http.errors import ParseException

from models import webhooks
from models.base import DEEPEST, IDENTIFIER, is_deep
from models.config import settings
from models.errors import Malformed, Unauthenticated, Unavailable
from models.logs import log
from models.webhooks import Delivery, Verifier
from tasks.webhooks import UNSIGNED

LARGEST = 25 * 1024 * 1024  # bytes; GitHub sends no more
CHUNK, IN_MEMORY = 64 * 1024, 512 * 1024
LOG_SECONDS = 10  # at most so often a refusal is logged


class Refusals:
    """Counts deliveries that were refused and says so now and then: a flood fills no log."""

    def __init__(self) -> None:
        self.count = 0
        self.told = float("-inf")

    def note(self) -> None:
        self.count += 1
        if time.monotonic() - self.told >= LOG_SECONDS:
            log.warning("webhooks refused", count=self.count, address=request.remote_addr)
            self.count, self.told = 0, time.monotonic()


refusals = Refusals()


def signed() -> Delivery:
    """The delivery that the request brings, if its signature holds.

    Raises, in this order: Unavailable without a secret, 413, Unauthenticated, Malformed.
    """
    known = webhooks.secrets(settings().github.webhook_secrets)
    if not known:
        raise Unavailable("No webhook can be verified: GITHUB_APP_WEBHOOK_SECRET is not set")
    request.max_content_length = LARGEST
    verifier = Verifier(known)
    with SpooledTemporaryFile(IN_MEMORY) as body:
        _receive(body, verifier)
        holds, whose = verifier.match(request.headers.get("X-Hub-Signature-256", ""))
        if not holds:
            refusals.note()
            raise Unauthenticated(UNSIGNED)
        body.seek(0)
        return Delivery(_named("X-GitHub-Event"), _named("X-GitHub-Delivery"), _read(body), whose)


def _receive(body: IO[bytes], verifier: Verifier) -> None:
    try:
        while chunk := request.stream.read(CHUNK):
            verifier.update(chunk)
            body.write(chunk)
    except (OSError, ParseException) as error:
        raise Malformed("The body did not arrive whole") from error


def _named(header: str) -> str:
    value = request.headers.get(header, "").strip()
    if not value or len(value) > (64 if header == "X-GitHub-Event" else IDENTIFIER):
        raise Malformed(f"The header {header} is missing, or too long")
    return value


def _read(body: IO[bytes]) -> dict[str, Any]:
    try:
        told = orjson.loads(body.read())
    except orjson.JSONDecodeError:
        raise Malformed("The body is not JSON: let the webhook send application/json") from None
    if not isinstance(told, dict):
        raise Malformed("The body is no JSON object")
    if is_deep(told):
        raise Malformed(f"The body is nested deeper than {DEEPEST} levels")
    return told
