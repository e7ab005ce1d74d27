"""When routines are due: no slot in a blackout, none twice, none missing, whatever clocks do."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from models.timetable import DAY, DAY_MS, MINUTE_MS, Due, Span, Timetable, Window, clashes

ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Asia/Kathmandu", "Australia/Lord_Howe")
ZONES += ("America/Havana", "America/Sao_Paulo", "Pacific/Apia", "Asia/Beirut")
NIGHT = {"type": "recurring", "startTime": "22:00", "endTime": "06:00"}
ONCE = {"type": "one-off", "start": "2026-01-01", "end": "2026-01-02"}
YEAR = int(datetime(2026, 1, 1, tzinfo=UTC).timestamp() * 1000)
moments = st.integers(YEAR, YEAR + 366 * DAY_MS)
lengths = st.integers(0, 3 * DAY_MS)
minutes = st.integers(0, DAY - 1)


@st.composite
def windows(draw: st.DrawFn) -> Window:
    start = draw(minutes)
    end = draw(minutes.filter(lambda minute: minute != start))
    days = draw(st.none() | st.frozensets(st.integers(0, 6), min_size=1))
    return Window(start, end, days)


@st.composite
def spans(draw: st.DrawFn) -> Span:
    start = draw(moments)
    return Span(start, start + draw(st.integers(1, DAY_MS)))


@st.composite
def timetables(draw: st.DrawFn) -> Timetable:
    interval = draw(st.integers(5, 10_080) | st.sampled_from([5, 30, 60, 90, DAY, 7 * DAY]))
    return Timetable(
        ZoneInfo(draw(st.sampled_from(ZONES))),
        interval,
        draw(st.integers(0, interval - 1)),
        tuple(draw(st.lists(windows(), max_size=3))),
        tuple(draw(st.lists(spans(), max_size=2))),
        tuple(sorted(draw(st.sets(moments, max_size=4)))),
    )


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp() * 1000)


def told(timetable: Timetable, begin: str, end: str) -> list[str]:
    """The slots of a stretch as the wall clock shows them."""
    found = timetable.slots(at(begin) - 1, at(end) - 1)
    return [
        datetime.fromtimestamp(slot.at / 1000, timetable.zone).strftime("%H:%M") for slot in found
    ]


@given(timetables(), moments, lengths)
def test_slots_come_in_order_each_once_within_what_was_asked(
    timetable: Timetable, after: int, length: int
) -> None:
    found = [slot.at for slot in timetable.slots(after, after + length)]
    assert found == sorted(set(found))
    assert all(after < moment <= after + length for moment in found)


@given(timetables(), moments, lengths)
def test_nothing_recurring_is_due_in_a_blackout_and_every_one_off_is_due_once(
    timetable: Timetable, after: int, length: int
) -> None:
    found = list(timetable.slots(after, after + length))
    assert not [slot for slot in found if slot.source == "recurring" and timetable.dark(slot.at)]
    once = [slot.at for slot in found if slot.source == "one-off"]
    assert once == [each for each in timetable.one_offs if after < each <= after + length]


@given(timetables(), moments, st.lists(st.integers(1, 8 * 60 * MINUTE_MS), max_size=12))
def test_it_does_not_matter_in_how_many_looks_one_sees_them(
    timetable: Timetable, after: int, looks: list[int]
) -> None:
    whole = list(timetable.slots(after, after + sum(looks)))
    pieces, here = [], after
    for look in looks:
        pieces += timetable.slots(here, here + look)
        here += look
    assert pieces == whole


@given(timetables(), moments)
def test_the_next_slot_is_the_first_of_all_that_follow(timetable: Timetable, after: int) -> None:
    following = next(timetable.slots(after, after + DAY_MS), None)
    assert timetable.next(after) == following


@given(st.integers(1, DAY), st.data(), st.integers(0, 364))
def test_a_day_has_as_many_slots_as_fit_after_the_offset(
    interval: int, data: st.DataObject, day: int
) -> None:
    offset = data.draw(st.integers(0, interval - 1))
    midnight = YEAR + day * DAY_MS
    timetable = Timetable(ZoneInfo("UTC"), interval, offset)
    found = [slot.at for slot in timetable.slots(midnight - 1, midnight + DAY_MS - 1)]
    assert found == [midnight + m * MINUTE_MS for m in range(offset, DAY, interval)]


@given(st.sampled_from(ZONES), st.sampled_from([5, 10, 15, 30]), moments)
def test_a_short_interval_leaves_no_hole_when_clocks_change(
    zone: str, interval: int, after: int
) -> None:
    timetable = Timetable(ZoneInfo(zone), interval)
    found = [slot.at for slot in timetable.slots(after, after + 2 * DAY_MS)]
    gaps = {later - earlier for earlier, later in pairwise(found)}
    assert gaps == {interval * MINUTE_MS}


@given(st.sampled_from(ZONES), st.integers(0, DAY - 1), st.integers(0, 360))
@example("Europe/Berlin", 150, 87)  # half past two on the day that has none
@example("Europe/Berlin", 150, 297)  # and on the one that has it twice
@example("America/Havana", 30, 66)
def test_what_is_due_once_a_day_is_due_once_each_day(zone: str, offset: int, day: int) -> None:
    timetable = Timetable(ZoneInfo(zone), DAY, offset)
    midnight = datetime(2026, 1, 1, tzinfo=ZoneInfo(zone)) + timedelta(days=day)
    begin, end = (int(each.timestamp() * 1000) for each in (midnight, midnight + timedelta(days=1)))
    assert len(list(timetable.slots(begin - 1, end - 1))) == 1


def test_a_night_is_dark_on_both_sides_of_midnight_and_its_end_is_not() -> None:
    night = Timetable(ZoneInfo("UTC"), 60, windows=(Window(22 * 60, 6 * 60),))
    shown = told(night, "2026-05-04T00:00Z", "2026-05-05T00:00Z")
    assert shown == [f"{hour:02}:00" for hour in range(6, 22)]


def test_the_day_of_a_window_is_that_of_the_moment() -> None:
    friday = Timetable(ZoneInfo("UTC"), 60, windows=(Window(22 * 60, 6 * 60, frozenset({5})),))
    saturday = told(friday, "2026-05-09T00:00Z", "2026-05-09T06:00Z")
    assert saturday == ["00:00", "01:00", "02:00", "03:00", "04:00", "05:00"]
    assert told(friday, "2026-05-08T21:00Z", "2026-05-09T00:00Z") == ["21:00"]


def test_a_blackout_is_kept_by_the_clock_on_the_wall_when_that_is_put_forward_and_back() -> None:
    night = Window(60, 180)
    berlin = Timetable(ZoneInfo("Europe/Berlin"), 30, windows=(night,))
    spring = told(berlin, "2026-03-29T00:00+01:00", "2026-03-29T04:00+02:00")
    assert spring == ["00:00", "00:30", "03:00", "03:30"]
    autumn = told(berlin, "2026-10-25T00:00+02:00", "2026-10-25T04:00+01:00")
    assert autumn == ["00:00", "00:30", "03:00", "03:30"]


def test_a_short_interval_goes_through_the_hour_that_comes_twice() -> None:
    berlin = Timetable(ZoneInfo("Europe/Berlin"), 30)
    shown = told(berlin, "2026-10-25T01:30+02:00", "2026-10-25T03:30+01:00")
    assert shown == ["01:30", "02:00", "02:30", "02:00", "02:30", "03:00"]


def test_a_week_is_a_week() -> None:
    weekly = Timetable(ZoneInfo("UTC"), 7 * DAY, 9 * 60)
    found = [slot.at for slot in weekly.slots(at("2026-05-01T00:00Z"), at("2026-05-22T00:00Z"))]
    assert found == [at(f"2026-05-{day:02}T09:00Z") for day in (4, 11, 18)]


def test_one_offs_come_even_in_the_dark_and_instead_of_what_recurs_then() -> None:
    noon = at("2026-05-04T12:00Z")
    timetable = Timetable(ZoneInfo("UTC"), 60, spans=(Span(noon, noon + DAY_MS),), one_offs=(noon,))
    found = list(timetable.slots(noon - 1, noon + DAY_MS - 1))
    assert [(slot.at, slot.source) for slot in found] == [(noon, "one-off")]


@pytest.mark.parametrize(
    ("written", "why"),
    [
        ({"timezone": "Mars/Base"}, "no time zone"),
        ({"timezone": "../etc/passwd"}, "no time zone"),
        ({"one_offs": ["tomorrow"]}, "no moment"),
        ({"one_offs": ["0001-01-01T00:00+14:00"]}, "no moment"),
        ({"blackouts": [{"type": "recurring", "startTime": "25:00", "endTime": "06:00"}]}, "start"),
        (
            {"blackouts": [{"type": "recurring", "startTime": "06:00", "endTime": "06:00"}]},
            "differ",
        ),
        ({"blackouts": [{"type": "one-off", "start": "2026-01-02", "end": "2026-01-01"}]}, "later"),
        ({"blackouts": [{"type": "one-off", "start": "2026-01-02"}]}, "missing"),
    ],
)
def test_what_cannot_be_kept_says_why(written: dict[str, object], why: str) -> None:
    usual = {"timezone": "UTC", "interval": 30, "offset": 0, "blackouts": [], "one_offs": []}
    with pytest.raises(ValueError, match=why):
        Timetable.of(**usual | written)


def test_a_whole_day_can_be_dark() -> None:
    sunday = {"type": "recurring", "startTime": "00:00", "endTime": "24:00", "daysOfWeek": [0]}
    timetable = Timetable.of("UTC", 60, 0, [sunday], [])
    assert told(timetable, "2026-05-03T00:00Z", "2026-05-04T00:00Z") == []
    assert len(told(timetable, "2026-05-04T00:00Z", "2026-05-05T00:00Z")) == 24


def test_moments_without_a_zone_are_those_of_the_routine() -> None:
    berlin = Timetable.of("Europe/Berlin", 30, 0, [], ["2026-07-01T09:00", "2026-07-01T09:00Z"])
    assert berlin.one_offs == (at("2026-07-01T07:00Z"), at("2026-07-01T09:00Z"))


@given(st.lists(st.tuples(st.integers(0, 1000), st.sampled_from("abc"), st.just("x")), max_size=30))
def test_clashes_are_those_of_different_agents_close_together(moments: list[Due]) -> None:
    groups = clashes(sorted(moments), 100)
    for group in groups:
        assert group[-1][0] - group[0][0] <= 100
        assert len({agent for _, agent, _ in group}) > 1
