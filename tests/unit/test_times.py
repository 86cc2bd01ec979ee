from datetime import UTC, datetime, timedelta, timezone

from django.template import Context, Template

from scripts.templatetags.times import moment, with_moments

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


def test_a_precise_time_has_milliseconds_and_no_day() -> None:
    shown = moment(AT, "precise")

    assert ">12:30:05.250 UTC<" in shown
    assert 'title="2026-03-01 12:30:05.250 UTC"' in shown


def test_no_time_is_a_dash() -> None:
    assert moment(None) == "-"


def test_templates_write_times_by_the_filter() -> None:
    text = Template("{% load times %}{{ at|moment:'clock' }}").render(Context({"at": AT}))

    assert text == moment(AT, "clock")


def test_times_in_a_sentence_are_times_and_the_rest_is_escaped() -> None:
    shown = with_moments("The queue '<a>' is paused since 2026-11-28T22:04:59.922Z: moving.")

    assert shown.startswith("The queue &#x27;&lt;a&gt;&#x27; is paused since <time datetime=")
    assert ">2026-11-28 22:04:59 UTC</time>: moving." in shown


def test_what_only_looks_like_a_time_stays_as_it_is() -> None:
    assert with_moments("2026-99-28T22:04:59Z") == "2026-99-28T22:04:59Z"
    assert with_moments(None) == ""
