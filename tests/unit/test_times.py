from datetime import UTC, datetime, timedelta, timezone

from django.template import Context, Template

from scripts.templatetags.times import moment

AT = datetime(2026, 3, 1, 12, 30, 5, 250_000, tzinfo=UTC)


def test_a_time_says_utc_and_has_its_machine_readable_form() -> None:
    shown = moment(AT)

    assert shown == (
        '<time datetime="2026-03-01T12:30:05.250000+00:00" title="2026-03-01 12:30:05 UTC" '
        'data-style="">2026-03-01 12:30:05 UTC</time>'
    )


def test_a_time_of_another_zone_is_written_in_utc() -> None:
    shown = moment(AT.astimezone(timezone(timedelta(hours=5))))

    assert ">2026-03-01 12:30:05 UTC<" in shown


def test_an_exact_time_has_milliseconds_in_its_title() -> None:
    assert 'title="2026-03-01 12:30:05.250 UTC"' in moment(AT, "exact")


def test_a_clock_has_no_day() -> None:
    assert ">12:30:05 UTC<" in moment(AT, "clock")


def test_no_time_is_a_dash() -> None:
    assert moment(None) == "-"


def test_templates_write_times_by_the_filter() -> None:
    text = Template("{% load times %}{{ at|moment:'clock' }}").render(Context({"at": AT}))

    assert text == moment(AT, "clock")
