"""Dates and times at a place: as Python's zoneinfo and Node's Intl see them."""

import io
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scripts.host.languages import time_zones
from scripts.host.languages.javascript import JavaScriptScript
from tests.hosts.javascript.helpers import raised, run, run_once
from tests.hosts.javascript.node import in_node, needs_node

# Of the same data: the zones of this machine may be others.
PLACES = {
    name: ZoneInfo.from_file(io.BytesIO(content), name)
    for name, content in time_zones.data().items()
}
ZONES = sorted(PLACES)
SHOW = JavaScriptScript(
    "show",
    "setData(context.Data.payload.map(([at, zone]) => zoned(at, zone).text))",
)
AT_ONCE = JavaScriptScript(
    "instants",
    "setData(context.Data.payload.map(([at, zone]) => zoned.instant(at, zone)))",
)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# At changes to summer and back, before and after all times that are listed, in two hemispheres.
INSTANTS = [
    datetime(year, month, day, hour, tzinfo=UTC)
    for year in (1, 1850, 1900, 1945, 1970, 1999, 2026, 2037, 2038, 2099, 2400)
    for month, day, hour in ((1, 1, 12), (3, 29, 1), (4, 5, 16), (7, 1, 0), (10, 25, 1), (11, 1, 7))
]


def shown(at: datetime, zone: str) -> str:
    return at.astimezone(PLACES[zone]).isoformat()


@pytest.mark.long
def test_every_zone_has_the_time_of_python_at_all_times() -> None:
    pairs = [(at, zone) for zone in ZONES for at in INSTANTS if at.year > 1]
    asked = [[(at - EPOCH) // timedelta(milliseconds=1), zone] for at, zone in pairs]

    assert run_once(SHOW, asked) == [shown(*pair) for pair in pairs]


@pytest.mark.long
@settings(deadline=None, max_examples=50)
@given(
    st.lists(
        st.tuples(st.datetimes(datetime(1800, 1, 1), datetime(2500, 1, 1)), st.sampled_from(ZONES)),
        max_size=50,
    )
)
def test_any_instant_is_shown_and_found_again(pairs: list[tuple[datetime, str]]) -> None:
    instants = [(at.replace(microsecond=0, tzinfo=UTC), zone) for at, zone in pairs]

    texts = run_once(SHOW, [[at.isoformat(), zone] for at, zone in instants])
    local = [[text[:19], zone] for text, (_, zone) in zip(texts, instants, strict=True)]
    found = run_once(AT_ONCE, local)

    assert texts == [shown(*pair) for pair in instants]
    # A time that is there twice is found as the first.
    assert run_once(SHOW, [[at, zone] for at, (_, zone) in zip(found, local, strict=True)]) == [
        datetime.fromisoformat(text).replace(tzinfo=PLACES[zone], fold=0).isoformat()
        for text, zone in local
    ]


@pytest.mark.parametrize("code", ["zoned('{0}T10:00:00Z', 'UTC')", "zoned.instant('{0}', 'UTC')"])
@pytest.mark.parametrize("day", ["2026-02-30", "2026-04-31", "2025-02-29", "0001-02-29"])
def test_a_day_that_no_month_has_is_refused(code: str, day: str) -> None:
    assert str(raised(f"setData({code.replace('{0}', day)})")).startswith("RangeError: zoned")


@pytest.mark.parametrize(
    ("local", "instant"),
    [
        ("2026-03-29T02:30", "2026-03-29T01:30:00.000Z"),
        ("2026-10-25T02:30:00", "2026-10-25T00:30:00.000Z"),
        ("2026-10-25 03:00:00.25", "2026-10-25T02:00:00.250Z"),
        ("2026-07-01", "2026-06-30T22:00:00.000Z"),
        ("0001-01-01T00:00", "0000-12-31T23:06:32.000Z"),
        ("0099-12-31T12:00:00", "0099-12-31T11:06:32.000Z"),
        ("2024-02-29", "2024-02-28T23:00:00.000Z"),
    ],
)
def test_a_time_at_a_place_is_an_instant(local: str, instant: str) -> None:
    assert run(f"setData(zoned.instant('{local}', 'Europe/Berlin'))") == instant


def test_all_parts_of_a_time_are_there() -> None:
    code = "setData([zoned(new Date(1798671599004), 'Europe/Berlin'), `${zoned(0, 'UTC')}`])"

    fields, text = run(code)

    assert fields == {
        "year": 2026,
        "month": 12,
        "day": 30,
        "hour": 23,
        "minute": 59,
        "second": 59,
        "millisecond": 4,
        "weekday": 3,
        "offsetMinutes": 60,
        "timeZone": "Europe/Berlin",
        "date": "2026-12-30",
        "time": "23:59:59",
        "text": "2026-12-30T23:59:59.004+01:00",
    }
    assert text == "1970-01-01T00:00:00+00:00"


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("zoned(0)", 'TypeError: zoned() takes a time zone, such as "Europe/Berlin"'),
        ("zoned(0, 'Europe/Atlantis')", "RangeError: there is no time zone Europe/Atlantis"),
        ("zoned(0, '#1')", "RangeError: there is no time zone #1"),
        ("zoned(0, 'UTC 1\\nUTC')", "RangeError: there is no time zone UTC"),
        ("zoned(NaN, 'UTC')", "RangeError: zoned() takes a Date"),
        ("zoned(new Date('x'), 'UTC')", "RangeError: zoned() takes a Date"),
        ("zoned('2026-01-01T10:00', 'UTC')", "TypeError: zoned() takes a Date or a text with"),
        ("zoned('2026-01-01', 'UTC')", "TypeError: zoned() takes a Date or a text with"),
        ("zoned.instant('2026-02-30', 'UTC')", "RangeError: zoned.instant() takes a time"),
        ("zoned.instant('2026-01-01T24:00', 'UTC')", "RangeError: zoned.instant() takes a time"),
        ("zoned.instant('tomorrow', 'UTC')", "RangeError: zoned.instant() takes a time"),
    ],
)
def test_what_is_no_time_or_place_is_an_error(expression: str, message: str) -> None:
    assert str(raised(f"setData({expression})")).startswith(message)


@pytest.mark.parametrize(
    "name", ["DateTimeFormat", "NumberFormat", "Collator", "PluralRules", "supportedValuesOf"]
)
def test_intl_names_what_to_use_instead(name: str) -> None:
    message = str(raised(f"setData(String(Intl.{name}('en')))"))

    assert message.startswith(
        f"TypeError: Intl.{name} is not there, as there is no Intl: use zoned("
    )


def test_a_date_that_would_be_shown_for_a_place_names_the_helper() -> None:
    code = "setData(new Date().toLocaleDateString('en-GB', { timeZone: 'Europe/Berlin' }))"

    assert 'use zoned(date, "Europe/Berlin")' in str(raised(code))


@needs_node
def test_node_has_the_same_day_and_time() -> None:
    zones = ["Europe/Berlin", "America/New_York", "Asia/Kolkata", "Pacific/Apia", "Africa/Cairo"]
    # Node's zones may be of another year: only times that do not change any more.
    pairs: list[Any] = [
        [int((at - EPOCH).total_seconds() * 1000), zone]
        for zone in zones
        for at in INSTANTS
        if 1970 <= at.year < 2020
    ]
    shows = (
        "new Date({}).toLocaleString('sv-SE', {{ timeZone: '{}' }}).replace(' ', 'T')".format(*pair)
        for pair in pairs
    )

    assert [[text[:19]] for text in run_once(SHOW, pairs)] == in_node(list(shows))
