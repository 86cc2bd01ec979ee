from __future__ import annotations

import re
from datetime import timedelta

import pytest
from django.core.exceptions import ValidationError
from django.urls import reverse
from hypothesis import given
from hypothesis import strategies as st

from flows.models import Flow
from scripts.admin.durations import DurationField, format_duration, parse_duration


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("100 ms", timedelta(milliseconds=100)),
        ("100ms", timedelta(milliseconds=100)),
        ("1.5 s", timedelta(milliseconds=1500)),
        ("30 d", timedelta(days=30)),
        ("5 min", timedelta(minutes=5)),
        ("5m", timedelta(minutes=5)),
        ("1 h 30 min", timedelta(minutes=90)),
        ("2 days, 4 hours", timedelta(days=2, hours=4)),
        ("1 week", timedelta(weeks=1)),
        ("250 µs", timedelta(microseconds=250)),
        ("30", timedelta(seconds=30)),
        ("00:05:00", timedelta(minutes=5)),
        ("1 02:00:00", timedelta(days=1, hours=2)),
        ("30 days, 0:00:00", timedelta(days=30)),
        ("PT15M", timedelta(minutes=15)),
    ],
)
def test_durations_are_read_as_people_and_django_write_them(text, expected):
    assert parse_duration(text) == expected


@pytest.mark.parametrize("text", ["", "soon", "5 parsecs", "ms", "1 s 2", "9" * 30 + " d"])
def test_what_is_no_duration_is_none(text):
    assert parse_duration(text) is None


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (timedelta(0), "0 s"),
        (timedelta(milliseconds=100), "100 ms"),
        (timedelta(microseconds=500), "0.5 ms"),
        (timedelta(milliseconds=1500), "1.5 s"),
        (timedelta(minutes=5), "5 min"),
        (timedelta(minutes=90), "1 h 30 min"),
        (timedelta(days=30), "30 d"),
        (timedelta(days=1, seconds=1, microseconds=1), "1 d 1.000001 s"),
    ],
)
def test_durations_are_written_so_that_they_are_read_as_the_same(value, text):
    assert format_duration(value) == text
    assert parse_duration(text) == value


@pytest.mark.parametrize("text", ["100", "1.5", " 7 ", "0.5", "1,5", "+3", "-3"])
def test_number_without_a_unit_is_refused_with_what_to_write(text):
    number = text.strip()

    with pytest.raises(ValidationError, match=re.escape(f"{number} ms or {number} s")):
        DurationField().clean(text)


@pytest.mark.parametrize("text", ["0", "0.0", "100 ms", "00:05:00", "PT15M", "1 02:00:00"])
def test_zero_and_durations_with_units_are_taken(text):
    assert DurationField().clean(text) is not None


@given(st.timedeltas(timedelta(0), timedelta(days=30_000)))
def test_duration_that_a_page_shows_can_be_sent_back(value):
    assert DurationField().clean(format_duration(value)) == value


@pytest.mark.django_db
def test_history_shows_durations_as_people_write_them(admin_client):
    flow = Flow.objects.create(name="orders", retention=timedelta(days=30))
    flow.retention = timedelta(days=7)
    flow.save()

    page = reverse("admin:flows_flow_history", args=[flow.pk])
    text = admin_client.get(page).content.decode()

    assert "<del>30 d</del> <ins>7 d</ins>" in text
