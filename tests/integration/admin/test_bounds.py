"""Numbers and durations that a form refuses, and what it says about them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.urls import reverse

from flows.models import Queue
from tests.integration.admin.pages import form_data

pytestmark = pytest.mark.django_db

MOST = "2,147,483,647"


def errors_of(client: Any, queue: Queue, **values: Any) -> dict[str, list[str]]:
    url = f"/admin/flows/queue/{queue.pk}/change/"
    response = client.post(url, form_data(client.get(url)) | values)
    if response.status_code == 302:
        return {}
    return {
        name: list(errors) for name, errors in response.context["adminform"].form.errors.items()
    }


@pytest.mark.sampled(3)
@pytest.mark.parametrize("value", ["-1", "0", "1001", "999999999999", "1.5", "many"])
def test_whole_range_is_told_whatever_the_number_is(client, world, value):
    errors = errors_of(client, world.spare, max_deliveries=value)

    assert errors == {"max_deliveries": ["Must be a whole number from 1 to 1,000."]}


@pytest.mark.parametrize("value", ["-1", "0", "99999999999"])
def test_range_without_an_upper_bound_is_that_of_the_column(client, world, value):
    errors = errors_of(client, world.spare, size=value)

    assert errors == {"size": [f"Must be a whole number of at least 1 and at most {MOST}."]}


@pytest.mark.parametrize("value", ["-0.1", "1.1"])
def test_fraction_has_its_range(client, world, value):
    errors = errors_of(client, world.spare, backoff_jitter=value)

    assert errors == {"backoff_jitter": ["Must be a number from 0 to 1."]}


def test_threads_of_a_step_have_one_sentence(client, world):
    step = world.flow.steps.get(name="reserve")
    url = reverse("admin:flows_flow_save_step", args=[world.flow.pk, step.pk, "step"])
    data = {"name": "reserve", "script": step.script.name, "queue": step.queue.name}

    for value in ("-1", "0", "100000"):
        response = client.post(url, data | {"threads": value})

        assert "Must be a whole number from 1 to 1,000." in response.content.decode()


def test_back_off_longer_than_its_maximum_is_refused(client, world):
    errors = errors_of(client, world.spare, backoff_initial="10 min", backoff_max="1 s")

    assert errors == {"backoff_initial": ["Must not be longer than the longest back-off."]}


def test_polling_of_hours_is_refused(client, world):
    assert errors_of(client, world.spare, polling="10 h") == {
        "polling": ["Must not be longer than 1 h."]
    }
    assert errors_of(client, world.spare, polling="1 h") == {}


def test_stored_durations_that_are_too_long_may_stay(client, world):
    Queue.objects.filter(pk=world.spare.pk).update(
        polling=timedelta(hours=9), backoff_initial=timedelta(hours=9)
    )

    assert errors_of(client, world.spare, size=5) == {}
