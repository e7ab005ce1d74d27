"""Hours, days and months (UTC), by which usage is told."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from models.errors import Invalid

HOUR, DAY, MONTH = "hour", "day", "month"
SPANS = (DAY, HOUR, MONTH)
MOST_BUCKETS = 400
LATEST = 221_845_305_600_000  # ms, the year 9000
DAY_MS = 86_400_000
USUAL_MS = {HOUR: 7 * DAY_MS, DAY: 30 * DAY_MS, MONTH: 365 * DAY_MS}


def beginnings(span: str, first: int, last: int) -> Iterator[int]:
    """When each span begins that has a moment from `first` to before `last`; Invalid for many."""
    if first >= last:
        raise invalid("from", "Must be before `to`.")
    here, end = beginning(span, first), _moment(last)
    for number in range(MOST_BUCKETS + 1):
        if here >= end:
            return
        if number == MOST_BUCKETS:
            raise invalid("from", f"More than {MOST_BUCKETS} buckets: ask for a shorter time.")
        yield int(here.timestamp()) * 1000
        here = following(span, here)


def beginning(span: str, at: int) -> datetime:
    """When the span with that moment (ms) in it begins."""
    whole = _moment(at).replace(minute=0, second=0, microsecond=0)
    if span == HOUR:
        return whole
    return whole.replace(hour=0) if span == DAY else whole.replace(hour=0, day=1)


def following(span: str, start: datetime) -> datetime:
    """When the next span begins."""
    if span == MONTH:
        return (start + timedelta(days=31)).replace(day=1)
    return start + (timedelta(hours=1) if span == HOUR else timedelta(days=1))


def _moment(at: int) -> datetime:
    return datetime.fromtimestamp(at // 1000, UTC) + timedelta(milliseconds=at % 1000)


def invalid(field: str, why: str) -> Invalid:
    """What is wrong with a field of the query."""
    fault = {"loc": ["query", field], "msg": why, "type": "invalid"}
    return Invalid(f"{field}: {why}", errors=[fault])
