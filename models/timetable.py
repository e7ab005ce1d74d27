"""When a routine is due: pure values in, moments out. Moments are epoch milliseconds.

Slots are what a wall clock in the routine's time zone shows: midnight, the offset later, and every
interval after that; each midnight begins anew. Intervals of more than a day are counted from a
Monday, so that a week is a week. A time that the clock skips comes when it goes on; one that it
shows twice counts the first time, unless the interval is so short that waiting for the next would
leave a hole.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Any, Self
from zoneinfo import ZoneInfo

DAY = 24 * 60  # minutes
MINUTE_MS = 60_000
DAY_MS = DAY * MINUTE_MS
MONDAY = date(1970, 1, 5).toordinal()
SHIFT = timedelta(hours=3)  # more than any zone puts its clocks forward or back
RECURRING, ONE_OFF = "recurring", "one-off"

Due = tuple[int, str, str]  # when, which agent, what made it so


@dataclass(frozen=True)
class Slot:
    """A moment at which something is due, and what made it so."""

    at: int
    source: str  # recurring or one-off


@dataclass(frozen=True)
class Window:
    """A time of day in which nothing recurring is due; it may span midnight.

    `start` and `end` count minutes since midnight, the end is not part of it; without `days`
    (Sunday is 0) it holds every day. The day is that of the moment which is looked at.
    """

    start: int
    end: int
    days: frozenset[int] | None = None

    def covers(self, wall: datetime) -> bool:
        """Whether it holds while the clock on the wall shows this."""
        if self.days is not None and wall.isoweekday() % 7 not in self.days:
            return False
        minute = wall.hour * 60 + wall.minute
        if self.start < self.end:
            return self.start <= minute < self.end
        return minute >= self.start or minute < self.end


@dataclass(frozen=True)
class Span:
    """A stretch of time, once, in which nothing recurring is due; the end is not part of it."""

    start: int
    end: int


@dataclass(frozen=True)
class Timetable:
    """When one routine is due; `interval` and `offset` are minutes."""

    zone: tzinfo
    interval: int
    offset: int = 0
    windows: tuple[Window, ...] = ()
    spans: tuple[Span, ...] = ()
    one_offs: tuple[int, ...] = ()

    @classmethod
    def of(
        cls,
        timezone: str,
        interval: int,
        offset: int,
        blackouts: Iterable[Mapping[str, Any]],
        one_offs: Iterable[str],
    ) -> Self:
        """The timetable that is written so on the wire; ValueError says what is wrong with it."""
        zone = zone_of(timezone)
        written = list(blackouts)
        windows = [window_of(each) for each in written if each.get("type") == RECURRING]
        spans = [span_of(each, zone) for each in written if each.get("type") != RECURRING]
        once = sorted({moment_of(text, zone) for text in one_offs})
        return cls(zone, interval, offset, tuple(windows), tuple(spans), tuple(once))

    def slots(self, after: int, until: int) -> Iterator[Slot]:
        """The slots later than `after` and not later than `until`, in order, each once."""
        once = [Slot(at, ONE_OFF) for at in self.one_offs if after < at <= until]
        recurring = (Slot(at, RECURRING) for at in self._recurring(after, until))
        last = after
        # of the two at one moment the one that a person named comes first
        for slot in heapq.merge(once, recurring, key=lambda slot: (slot.at, slot.source)):
            if slot.at > last:
                last = slot.at
                yield slot

    def next(self, after: int, within: int = DAY_MS) -> Slot | None:
        """The first slot later than `after`, if there is one within so many milliseconds."""
        return next(self.slots(after, after + within), None)

    def dark(self, at: int) -> bool:
        """Whether a blackout covers the moment."""
        if any(span.start <= at < span.end for span in self.spans):
            return True
        wall = datetime.fromtimestamp(at / 1000, self.zone) if self.windows else None
        return wall is not None and any(window.covers(wall) for window in self.windows)

    def _recurring(self, after: int, until: int) -> Iterator[int]:
        last = after
        for at in self._instants(after):
            if at > until:
                return
            if at > last:
                last = at
                if not self.dark(at):
                    yield at

    def _instants(self, after: int) -> Iterator[int]:
        """Every time the wall clock shows a slot, in order, from a little before `after` on."""
        begin = datetime.fromtimestamp(after / 1000, self.zone).replace(tzinfo=None) - SHIFT
        day = begin.date()
        first = begin.hour * 60 + begin.minute
        while True:
            yield from self._of_day(day, first)
            first, day = 0, day + timedelta(days=1)

    def _of_day(self, day: date, first: int) -> list[int]:
        midnight = datetime.combine(day, time())
        start = self.offset
        if self.interval > DAY:
            start = (self.offset - (day.toordinal() - MONDAY) * DAY) % self.interval
        start += max(0, -(-(first - start) // self.interval)) * self.interval
        found: set[int] = set()
        for minute in range(start, DAY, self.interval):
            found.update(self._shown(midnight + timedelta(minutes=minute)))
        return sorted(found)

    def _shown(self, wall: datetime) -> Iterator[int]:
        """When the wall clock shows this: once, or twice where it is put back."""
        early, late = (wall.replace(tzinfo=self.zone, fold=fold) for fold in (0, 1))
        first, second = _ms(early), _ms(late)
        yield first
        if second - first > 0 and self.interval * MINUTE_MS <= second - first:
            yield second


def zone_of(name: str) -> tzinfo:
    """The time zone of this name; ValueError when there is none.

    UTC is there even where the system has no database of time zones.
    """
    if name == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:  # it looks for a file of that name
        raise ValueError(f"{name!r} is no time zone; write one like Europe/Berlin") from error


def window_of(written: Mapping[str, Any]) -> Window:
    """A recurring blackout as it is written; ValueError says what is wrong with it."""
    start, end = (_minute(written.get(name), name) for name in ("startTime", "endTime"))
    if start == end:
        raise ValueError("endTime must differ from startTime")
    days = written.get("daysOfWeek")
    return Window(start, end, frozenset(days) if days else None)


def span_of(written: Mapping[str, Any], zone: tzinfo) -> Span:
    """A one-off blackout as it is written; ValueError says what is wrong with it."""
    start, end = (_named(written.get(name), name, zone) for name in ("start", "end"))
    if start >= end:
        raise ValueError("end must be later than start")
    return Span(start, end)


def moment_of(text: str, zone: tzinfo) -> int:
    """A moment written in ISO 8601, in this zone unless it names one; ValueError for others."""
    try:
        read = datetime.fromisoformat(text)
        moment = _ms(read if read.tzinfo is not None else read.replace(tzinfo=zone))
        if moment < 0:
            raise ValueError(text)
        return moment
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{text!r} is no moment; write one like 2026-12-24T18:00:00Z") from error


def written(at: int) -> str:
    """A moment in ISO 8601, in UTC."""
    return datetime.fromtimestamp(at / 1000, UTC).isoformat(timespec="seconds")


def clashes(moments: Sequence[Due], window: int) -> list[list[Due]]:
    """Groups of moments, in order, that lie within `window` of their first.

    Only groups of more than one agent are told.
    """
    groups: list[list[Due]] = []
    for moment in moments:
        if groups and moment[0] - groups[-1][0][0] <= window:
            groups[-1].append(moment)
        else:
            groups.append([moment])
    return [group for group in groups if len({agent for _, agent, _ in group}) > 1]


def _named(text: Any, name: str, zone: tzinfo) -> int:
    if not isinstance(text, str):
        raise ValueError(f"{name} is missing")
    return moment_of(text, zone)


def _minute(text: Any, name: str) -> int:
    """Minutes since midnight of a time written HH:MM; a day may end at 24:00."""
    if (name, text) == ("endTime", "24:00"):
        return DAY
    try:
        read = datetime.strptime(text, "%H:%M").time()
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} must be a time of day like 22:30") from error
    return read.hour * 60 + read.minute


def _ms(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)
