"""The times of cron expressions: seconds, time zones, changes of the clock, leap days."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import islice
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.models.cron_times import CronInvalid, CronTimes, require_times

BERLIN = "Europe/Berlin"


def at(text: str, zone: str = "UTC") -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)


def next_times(expression: str, since: str, count: int, zone: str = "UTC") -> list[datetime]:
    return list(islice(CronTimes(expression, zone).since(at(since, zone)), count))


@pytest.mark.parametrize(
    ("expression", "zone", "since", "times"),
    [
        ("30 9 * * MON-FRI", "UTC", "2026-01-02T10:00", ["2026-01-05T09:30", "2026-01-06T09:30"]),
        ("*/20 30 12 * * *", "UTC", "2026-01-02T12:30:20",
         ["2026-01-02T12:30:40", "2026-01-03T12:30:00"]),
        ("0 0 29 2 *", "UTC", "2026-01-01T00:00", ["2028-02-29T00:00", "2032-02-29T00:00"]),
        ("0 12 L * *", "UTC", "2028-02-01T00:00", ["2028-02-29T12:00", "2028-03-31T12:00"]),
        ("0 7 * * *", BERLIN, "2026-03-28T12:00", ["2026-03-29T05:00", "2026-03-30T05:00"]),
        # 02:30 is not there on 29 March: right after the gap, at 03:00 CEST.
        ("30 2 * * *", BERLIN, "2026-03-28T12:00", ["2026-03-29T01:00", "2026-03-30T00:30"]),
        ("15 30 2 * * *", BERLIN, "2026-03-28T12:00",
         ["2026-03-29T01:00:15", "2026-03-30T00:30:15"]),
        # 02:30 is there twice on 25 October: once.
        ("30 2 * * *", BERLIN, "2026-10-24T12:00", ["2026-10-25T00:30", "2026-10-26T01:30"]),
        # Every half an hour goes on through it.
        ("*/30 * * * *", BERLIN, "2026-10-25T01:45",
         ["2026-10-25T00:00", "2026-10-25T00:30", "2026-10-25T01:00", "2026-10-25T01:30",
          "2026-10-25T02:00"]),
    ],
)  # fmt: skip
def test_next_times_are_in_the_zone_through_changes_of_the_clock(
    expression: str, zone: str, since: str, times: list[str]
) -> None:
    assert next_times(expression, since, len(times), zone) == [at(time) for time in times]


@pytest.mark.parametrize(
    ("expression", "zone", "said"),
    [
        ("", "UTC", "no cron expression"),
        ("* * * *", "UTC", "no cron expression"),
        ("60 * * * *", "UTC", "Bad minute"),
        ("@daily", "UTC", "no cron expression"),
        ("0 0 30 2 *", "UTC", "Bad day-of-month"),
        ("* * */20 * 1L", "UTC", "never comes"),
        ("0 0 * * *", "Mars/Base", "There is no time zone"),
        ("0 0 * * *", "../etc/passwd", "There is no time zone"),
        ("0 0 * * *", "", "There is no time zone"),
        ("0 0 * * *", "x\0", "There is no time zone"),
    ],
)
def test_what_names_no_time_is_refused(expression: str, zone: str, said: str) -> None:
    with pytest.raises(CronInvalid, match=said):
        require_times(expression, zone, at("2026-01-01T00:00"))


EXPRESSIONS = st.sampled_from(
    ["*/5 * * * *", "*/15 0 * * * *", "30 2 * * *", "0 */7 * * *", "59 23 L * *", "7 3 * * SUN",
     "0,30 1,2,3 * * *", "10 30 2 * * *"]
)  # fmt: skip
ZONES = st.sampled_from(["UTC", BERLIN, "America/New_York", "Australia/Lord_Howe"])
MOMENTS = st.datetimes(datetime(2024, 1, 1), datetime(2028, 1, 1)).map(
    lambda moment: moment.replace(tzinfo=UTC)
)


@given(EXPRESSIONS, ZONES, MOMENTS)
def test_each_time_is_found_from_the_one_before(
    expression: str, zone: str, begun: datetime
) -> None:
    """As the engine goes on from the time that it knows, also after a restart."""
    times = CronTimes(expression, zone)

    found = list(islice(times.since(begun), 12))

    assert [times.after(moment) for moment in [begun, *found[:-1]]] == found == sorted(set(found))
    assert found[0] > begun


@given(EXPRESSIONS, ZONES, MOMENTS, st.integers(1, 9))
def test_the_newest_times_are_the_last_of_all(
    expression: str, zone: str, begun: datetime, most: int
) -> None:
    times = CronTimes(expression, zone)
    first = times.after(begun)
    every = [first, *islice(times.since(first), 30)]

    assert times.newest(first, every[-1] + timedelta(milliseconds=1), most) == every[-most:]
    assert times.newest(first, every[0], most) == [first]


def test_times_end_with_the_calendar() -> None:
    assert CronTimes("0 0 1 1 *", "UTC").after(at("9999-06-01T00:00")) is None
