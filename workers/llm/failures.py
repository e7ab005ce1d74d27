"""What a provider's failure means: one of the four errors of `base`, whichever protocol told it."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx2

from workers.llm.base import Denied, ModelError, Overflow, Refused, Throttled, Unavailable
from workers.llm.endpoint import Endpoint

TOO_LONG = re.compile(
    r"""context_length_exceeded | exceed_context_size | model_context_window_exceeded
      | (maximum|max|model'?s?)\W+(\w+\W+)?context | context\W+(length|window|size|limit)
      | (prompt|input|request|messages?|conversation)\W+(\w+\W+){0,4}too\W+(long|large)
      | too\W+many\W+(input\W+)?tokens | reduce\W+the\W+length | input\W+token\W+count
      | input\W+tokens?\W+exceed""",
    re.VERBOSE | re.IGNORECASE,
)
NO_CREDIT = re.compile(
    r"insufficient_quota|exceeded your current quota|credit balance|billing|spend_limit",
    re.IGNORECASE,
)
PASSING = re.compile(r"overloaded|api_error|server_error|timeout|unavailable", re.IGNORECASE)
THROTTLED = re.compile(r"rate_?limit|too many requests", re.IGNORECASE)
TRANSIENT = frozenset({408, 409, 425})
DENIED = frozenset({402, 403, 404})


def failure(
    endpoint: Endpoint, status: int, message: str, headers: Mapping[str, str]
) -> ModelError:
    """What the answer `status` means; status 200 stands for an error told inside a stream."""
    if status == 200:
        return _failure_in_stream(endpoint, message, headers)
    meaning = _refusal(endpoint, status, message, headers)
    meaning.unpaid = True
    return meaning


def unreachable(endpoint: Endpoint, error: Exception) -> Unavailable:
    """What it means that the connection failed, before or while the provider answered."""
    cause = error.__cause__ or error
    why = endpoint.without_key(str(cause))
    meaning = Unavailable(f"The connection to {endpoint.provider} failed: {why}")
    meaning.unpaid = isinstance(cause, httpx2.ConnectError)
    return meaning


def _refusal(
    endpoint: Endpoint, status: int, message: str, headers: Mapping[str, str]
) -> ModelError:
    told = f"{endpoint.provider} answered {status}: {endpoint.without_key(message)[:2000]}"
    if status == 401:
        return Denied(f"{told}\nThe key was not accepted: check {endpoint.key_variable}.")
    if status in DENIED or (status in {400, 429} and NO_CREDIT.search(message)):
        return Denied(told)
    if status == 429:
        return Throttled(told, retry_after(headers, datetime.now(UTC)))
    if status >= 500 or status in TRANSIENT:
        if TOO_LONG.search(message):  # some servers wrap it in a 500
            return Overflow(told)
        wait = retry_after(headers, datetime.now(UTC))
        return Unavailable(told) if wait is None else Throttled(told, wait)
    if status == 413 or (status in {400, 422} and TOO_LONG.search(message)):
        return Overflow(told)
    return Refused(told)


def _failure_in_stream(endpoint: Endpoint, message: str, headers: Mapping[str, str]) -> ModelError:
    told = f"{endpoint.provider} broke off: {endpoint.without_key(message)[:2000]}"
    if TOO_LONG.search(message):
        return Overflow(told)
    if THROTTLED.search(message):
        return Throttled(told, retry_after(headers, datetime.now(UTC)))
    if PASSING.search(message) or "invalid_request" not in message:
        return Unavailable(told)
    return Refused(told)


def retry_after(headers: Mapping[str, str], now: datetime) -> float | None:
    """Seconds to wait as told by Retry-After (seconds or an HTTP date) or retry-after-ms."""
    milliseconds = _number(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000
    told = headers.get("retry-after")
    seconds = _number(told)
    if seconds is not None or told is None:
        return seconds
    try:
        moment = parsedate_to_datetime(told)
    except ValueError:
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return max(0.0, (moment - now).total_seconds())


def _number(text: str | None) -> float | None:
    try:
        number = float(text or "")
    except ValueError:
        return None
    return number if math.isfinite(number) and number >= 0 else None
