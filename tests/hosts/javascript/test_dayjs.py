"""Day.js in scripts: its languages, plug-ins and time zones."""

import pytest

from scripts.protocol.errors import OutputInvalid
from tests.hosts.javascript.helpers import raised, run

BEFORE = """
const d = dayjs("2026-03-28T12:30:15Z"), z = d.tz("Europe/Berlin");
const autumn = dayjs("2026-10-25T01:30:00Z").tz("Europe/Berlin");
"""
NEW_YORK = '"America/New_York"'


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("d.locale('de').format('dddd, D. MMMM YYYY')", "Samstag, 28. März 2026"),
        ("d.locale('de-AT').format('MMMM')", "März"),
        ("d.locale('fr').format('LLLL')", "samedi 28 mars 2026 12:30"),
        ("d.locale('es').format('MMMM')", "marzo"),
        ("d.locale('it').format('dddd')", "sabato"),
        ("d.locale('nl').format('dddd')", "zaterdag"),
        ("d.locale('pl').format('dddd')", "sobota"),
        ("d.locale('pt').format('MMMM')", "março"),
        ("d.locale('en-gb').format('L')", "28/03/2026"),
        ("(dayjs.locale('de'), dayjs('2026-03-28').format('L'))", "28.03.2026"),
        ("d.format('L LT, LL')", "03/28/2026 12:30 PM, March 28, 2026"),
        ("d.format('Do Q w W GGGG X')", "28th 1 13 13 2026 1774701015"),
        ("dayjs('1 mars 2026', 'D MMMM YYYY', 'fr').format('YYYY-MM-DD')", "2026-03-01"),
        ("dayjs('31.02.2026', 'DD.MM.YYYY', true).isValid()", False),
        ("d.locale('de').to(d.subtract(2, 'month'))", "vor 2 Monaten"),
        ("dayjs.duration(90, 'minute').asHours()", 1.5),
        ("d.isBetween('2026-01-01', '2027-01-01')", True),
        ("dayjs.extend(dayjs_plugin_utc) === dayjs", True),
        ("(dayjs.locale({ name: 'xx', months: [] }), dayjs().locale())", "xx"),
        # At places.
        ("z.format()", "2026-03-28T13:30:15+01:00"),
        ("z.add(1, 'day').format()", "2026-03-29T13:30:15+02:00"),
        ("z.add(24, 'hour').format()", "2026-03-29T14:30:15+02:00"),
        ("z.add(2, 'Q').format()", "2026-09-28T13:30:15+02:00"),
        ("z.month(6).format()", "2026-07-28T13:30:15+02:00"),
        ("z.startOf('day').toISOString()", "2026-03-27T23:00:00.000Z"),
        ("z.add(1, 'day').endOf('day').format()", "2026-03-29T23:59:59+02:00"),
        ("autumn.startOf('hour').format()", "2026-10-25T02:00:00+01:00"),
        ("z.locale('de').tz('Asia/Tokyo').format('dddd HH Z')", "Samstag 21 +09:00"),
        ("z.utc().add(1, 'day').format()", "2026-03-29T12:30:15+00:00"),
        ("z.utcOffset(-300).format()", "2026-03-28T07:30:15-05:00"),
        ("d.utcOffset(60).add(24, 'hour').utcOffset(120).format()", "2026-03-29T14:30:15+02:00"),
        ("d.tz('Asia/Tokyo', true).format()", "2026-03-28T12:30:15+09:00"),
        (f"dayjs.tz('2026-07-01 10:00', {NEW_YORK}).toISOString()", "2026-07-01T14:00:00.000Z"),
        (
            f"dayjs.tz('1.7.2026 10:00', 'D.M.YYYY HH:mm', {NEW_YORK}).toISOString()",
            "2026-07-01T14:00:00.000Z",
        ),
        (f"dayjs.tz('2026-07-01T10:00:00Z', {NEW_YORK}).format()", "2026-07-01T06:00:00-04:00"),
        ("dayjs.tz('nonsense', 'Europe/Berlin').isValid()", False),
    ],
)
def test_dates_are_written_and_moved_as_people_expect(expression: str, value: object) -> None:
    assert run(f"{BEFORE}setData({expression});") == value


@pytest.mark.parametrize(
    ("expression", "said"),
    [
        ("dayjs.locale('sv')", 'no locale "sv" here, but de, en, en-gb'),
        ("d.locale('sv')", 'no locale "sv" here'),
        ("dayjs('1 maj', 'D MMMM', 'sv')", 'no locale "sv" here'),
        ("d.tz('Mars/Base')", "there is no time zone Mars/Base"),
        ("z.format('z')", "no names of time zones here: use the format Z"),
    ],
)
def test_what_is_not_there_is_an_error(expression: str, said: str) -> None:
    assert said in str(raised(f"{BEFORE}{expression}; setData(1);"))


def test_a_language_is_of_its_message_alone() -> None:
    assert run("dayjs.locale('de'); setData(dayjs('2026-03-28').format('dddd'))") == "Samstag"
    assert run("setData(dayjs('2026-03-28').format('dddd'))") == "Saturday"


def test_an_invalid_date_is_no_output() -> None:
    with pytest.raises(OutputInvalid, match=r"\$\.payload\.d is an invalid date"):
        run("setData({ payload: { d: dayjs('nope') } })")

    assert run("setData([dayjs('2026-01-02'), { toJSON() { return null } }])") == [
        "2026-01-02T00:00:00.000Z",
        None,
    ]
