from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.urls import reverse
from django.utils import timezone

from flows.admin.starting import MomentInput, first_payload
from flows.models import IdempotencyKey, Message, Run, RunCallback, RunDeadline
from scripts.models import Script
from tests.integration.admin.pages import messages_of

PAYLOAD = '{"orderId": "A-1", "amount": 12345678901234567890}'


@pytest.fixture
def page(world):
    return reverse("admin:flows_flow_start", args=[world.flow.pk])


@pytest.fixture
def first_script(world):
    return Script.objects.get(pk=world.flow.steps.order_by("position")[0].script_id)


def newest_run():
    return Run.objects.order_by("-correlation_id")[0]


def in_script(html, marker):
    """Return the JSON that the page hands to its module."""
    part = html.split(f"<div {marker} hidden>")[1].split("</script>")[0]
    return json.loads(part.split(">", 1)[1])


def test_the_page_hands_the_schema_of_the_first_script_to_the_form(client, page, first_script):
    html = client.get(page).content.decode()

    assert in_script(html, "data-schema") == first_script.input_schema


def test_text_in_a_schema_cannot_leave_its_script_element(client, page, first_script):
    hostile = "</script><script>alert(1)</script>"
    first_script.input_schema = {"type": "object", "title": hostile}
    first_script.save()

    html = client.get(page).content.decode()

    assert hostile not in html
    assert in_script(html, "data-schema")["title"] == hostile


def test_without_a_schema_the_page_has_the_json_alone(client, page, first_script):
    first_script.input_schema = {}
    first_script.save()

    html = client.get(page).content.decode()

    assert "data-schema-form" not in html
    assert 'name="payload"' in html


def test_the_first_payload_leaves_out_what_is_optional_and_has_no_example(world, first_script):
    first_script.input_schema = {
        "type": "object",
        "required": ["id", "customer"],
        "properties": {
            "id": {"type": "string"},
            "note": {"type": "string"},
            "colour": {"type": "string", "examples": ["red"]},
            "customer": {
                "type": "object",
                "required": ["name"],
                "properties": {"name": {"type": "string"}, "born": {"format": "date"}},
            },
        },
    }
    first_script.save()

    assert first_payload(world.flow) == {"id": "", "colour": "red", "customer": {"name": ""}}


def test_a_start_takes_all_options(client, page):
    at = (timezone.now() + timedelta(days=2)).replace(microsecond=0)
    deadline = at + timedelta(hours=1)

    client.post(
        page,
        {
            "payload": PAYLOAD,
            "priority": "9",
            "start_at": at.isoformat(),
            "deadline": deadline.isoformat(),
            "labels": "order: 47:11 \r\n\r\ncustomer:A. Müller",
            "idempotency_key": "one",
            "callback_url": "https://shop.example.org/hook",
        },
    )

    message = Message.objects.get(run=newest_run())
    assert (message.priority, message.available_at) == (9, at)
    assert "12345678901234567890" in message.body
    assert IdempotencyKey.objects.get().run_id == message.run_id
    assert RunDeadline.objects.get(pk=message.run_id).at == deadline
    labels = {label.key: label.value for label in newest_run().labels.all()}
    assert labels == {"order": "47:11", "customer": "A. Müller"}
    assert RunCallback.objects.get(run=message.run_id).url == "https://shop.example.org/hook"


def test_a_time_without_a_zone_is_utc(client, page):
    tomorrow = f"{timezone.now() + timedelta(days=1):%Y-%m-%d}T08:15"

    client.post(page, {"payload": PAYLOAD, "start_at": tomorrow})

    available_at = Message.objects.get(run=newest_run()).available_at
    assert available_at == datetime.fromisoformat(tomorrow).replace(tzinfo=UTC)


BAD_OPTIONS: list[Any] = [
    ("priority", "10", "less than or equal to 9"),
    ("priority", "high", "whole number"),
    ("start_at", "tomorrow", "Must be a time"),
    ("start_at", "9999-12-31T23:59:59-23:00", "Must be a time"),
    ("start_at", "2100-01-01T00:00Z", "days from now at the most"),
    ("deadline", "2020-01-01T00:00Z", "Must be later than the start of the run."),
    ("deadline", "tomorrow", "Must be a time"),
    ("labels", "order", "Must be key:value."),
    ("labels", "order:1\norder:2", "The key 'order' is given more than once."),
    ("labels", ":1", "A key has 1 to 64 printable characters"),
    ("labels", "\n".join(f"{n}:1" for n in range(17)), "A run has at most 16 labels."),
    ("callback_url", "ftp://a.test", "Must begin with https:// or http://."),
    ("callback_url", "http://127.0.0.1/", "ust be a public address"),
    ("idempotency_key", "a,b", "without a comma"),
    ("idempotency_key", "ü", "without a comma"),
    ("idempotency_key", "x" * 256, "at most 255"),
]


def test_a_bad_option_is_refused_at_its_field(client, page):
    before = Run.objects.count()

    for field, value, reason in BAD_OPTIONS:
        response = client.post(page, {"payload": PAYLOAD, field: value})

        form = response.context["form"]
        assert list(form.errors) == [field], (field, value)
        assert reason in form.errors[field][0], (field, value)
        assert form[field].value() == value, (field, value)
        assert Run.objects.count() == before, (field, value)


def test_a_second_start_with_the_key_shows_the_first_run(client, page):
    data = {"payload": PAYLOAD, "idempotency_key": "one"}
    client.post(page, data)
    first = newest_run()

    response = client.post(page, data, follow=True)

    said = f"Run {first.pk} was started with this idempotency key before."
    assert messages_of(response)[-1] == said
    assert response.redirect_chain[-1][0] == reverse("admin:flows_run_change", args=[first.pk])


def test_a_key_of_another_payload_is_refused_at_its_field(client, page):
    client.post(page, {"payload": PAYLOAD, "idempotency_key": "one"})

    other = {"payload": '{"orderId": "B", "amount": 1}', "idempotency_key": "one"}
    response = client.post(page, other)

    assert response.context["form"].errors["idempotency_key"]


def test_the_places_that_were_refused_are_handed_to_the_form(client, page):
    html = client.post(page, {"payload": '{"orderId": 5, "amount": 0}'}).content.decode()

    assert {fault["path"] for fault in in_script(html, "data-refused")} == {"$.orderId", "$.amount"}


def test_a_refused_form_shows_the_start_time_again_in_utc(client, page):
    response = client.post(page, {"payload": "{", "start_at": "2026-12-24T18:00:00+02:00"})

    assert 'value="2026-12-24T16:00:00"' in response.content.decode()


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("2030-01-02T03:04:05+01:00", "2030-01-02T02:04:05"),
        ("0001-01-02T03:04", "0001-01-02T03:04:00"),
        ("0001-01-01T00:00:00+01:00", None),
        ("9999-12-31T23:00:00-05:00", None),
        ("soon", None),
    ],
)
def test_a_field_for_a_time_shows_it_in_utc_as_browsers_write_it(given, shown):
    assert MomentInput("").format_value(given) == shown


def test_a_payload_that_the_api_takes_for_too_large_is_refused_here_too(client, page, settings):
    most = len('{"orderId":"A-1","amount":5}')
    settings.ASYNCENGINE_MAX_PAYLOAD_BYTES = most
    payloads = [{"orderId": "A-1", "amount": amount} for amount in (55, 5)]

    refused, indented = (
        client.post(page, {"payload": json.dumps(payload, indent=40)}) for payload in payloads
    )

    assert f"{most + 1} bytes. It may have at most {most}." in refused.content.decode()
    assert indented.status_code == 302
