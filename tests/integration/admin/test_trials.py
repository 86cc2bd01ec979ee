"""Trials on the script page: their two addresses, with real script hosts."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from uuid_utils.compat import uuid7

from flows.models import Message
from scripts.models import Script
from scripts.trials.trial import TooManyTrials
from tests.integration.admin.pages import form_data


@pytest.fixture
def page(world):
    return reverse("admin:scripts_script_change", args=[world.script.pk])


@pytest.fixture
def attempt(client, world, page):
    """Return a function that presses Run on the script's page with changes to its form."""

    def press_run(sample="{}", is_last=False, **changes):
        data = form_data(client.get(page)) | changes
        data |= {"sample": sample, "is_last": "true" if is_last else "false"}
        response = client.post(reverse("admin:scripts_script_trial", args=[world.script.pk]), data)
        assert response.status_code == 200
        return response.json()

    return press_run


def test_unsaved_code_runs_and_nothing_is_saved(attempt, world):
    code = (
        "def run(m, c):\n    c.log('hello', level='warning')\n    return {'payload': m['payload']}"
    )

    result = attempt('{"orderId": "A-7", "amount": 1}', code=code)

    assert json.loads(result["output"])["payload"] == {"orderId": "A-7", "amount": 1}
    assert "\n  " in result["output"]
    assert [(line["level"], line["text"]) for line in result["logs"]] == [("warning", "hello")]
    assert "correlationId" in result["warning"]
    assert result["milliseconds"] >= 0
    assert 0 < result["memoryMb"] < 30
    world.script.refresh_from_db()
    assert world.script.code != code
    assert world.script.versions.count() == 1


def test_an_exception_is_shown_with_traceback_and_line(attempt):
    sample = '{"orderId": "A-7", "amount": 1}'

    result = attempt(sample, code="def run(message, context):\n    return 1 / 0")

    assert (result["output"], result["line"]) == (None, 2)
    assert result["heading"] == "The script raised an exception."
    assert "ZeroDivisionError" in result["traceback"]


def test_unsaved_limits_count_and_the_last_step_may_give_anything(attempt):
    sample = '{"orderId": "A-7", "amount": 1}'

    endless = attempt(sample, code="def run(m, c):\n    while True: pass", timeout="200 ms")
    last = attempt(sample, code="def run(m, c): return [1]", is_last=True)

    assert "0.2 s" in endless["error"]
    assert json.loads(last["output"]) == [1]


def test_what_the_schemas_refuse_is_told_with_its_line(attempt):
    schema = '{"properties": {"amount": {"maximum": 1}}}'
    sample = '{\n  "orderId": "A-7",\n  "amount": 2\n}'

    refused = attempt('{\n"orderId": "A-7",\n\n"amount": 0}')
    output = attempt(sample, output_schema=schema)

    assert [(fault["path"], fault["line"]) for fault in refused["faults"]] == [
        ("$.payload.amount", 4)
    ]
    assert refused["output"] is None
    [fault] = output["faults"]
    assert output["output"].splitlines()[fault["line"] - 1].strip() == '"amount": 2'
    assert "output structure" in output["error"]


@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    ("changes", "field", "text"),
    [
        ({"code": "def run(message, context"}, "code", "line 1: '(' was never closed"),
        ({"code": "import os\ndef run(m, c): ..."}, "code", "line 1: module 'os'"),
        ({"input_schema": "{"}, "input_schema", "This is not valid JSON."),
        ({"timeout": "soon"}, "timeout", "Enter a duration"),
        ({"sample": "{"}, "sample", "not valid JSON"),
    ],
)
def test_what_cannot_run_is_refused_with_the_field(attempt, changes, field, text):
    [refusal] = attempt(**changes)["refusals"]

    assert refusal["field"] == field
    assert text in refusal["text"]
    assert refusal["label"][0].isupper()


def test_a_script_without_a_name_can_be_tried_before_it_is_saved(client):
    add = reverse("admin:scripts_script_add")
    data = form_data(client.get(add)) | {"sample": "[1]", "is_last": "false"}

    result = client.post(reverse("admin:scripts_script_trial_new"), data).json()

    assert json.loads(result["output"])["payload"] == [1]
    assert not Script.objects.exists()


def test_too_many_trials_at_once_are_refused(client, world, page, monkeypatch):
    def refuse(*args, **kwargs):
        raise TooManyTrials

    monkeypatch.setattr("scripts.admin.trial_page.run_trial", refuse)
    data = form_data(client.get(page)) | {"sample": "{}"}

    response = client.post(reverse("admin:scripts_script_trial", args=[world.script.pk]), data)

    assert response.status_code == 429
    assert "Other trials" in response.json()["refusals"][0]["text"]


def test_samples_are_made_up_or_come_from_dead_letters_and_waiting_messages(client, world):
    step = world.completed.flow_version.steps.first()
    body = '{"correlationId": "c", "payload": {"orderId": "A-2"}}'
    Message.objects.create(
        id=uuid7(),
        run=world.completed,
        step=step,
        queue=world.orders,
        body=body,
        available_at=timezone.now() + timedelta(hours=1),
    )

    samples = client.get(samples_url(world)).json()["samples"]

    assert [sample["origin"] for sample in samples] == ["Made up", "Dead letters", "Runs"]
    assert json.loads(samples[0]["text"])["payload"] == {"orderId": "A-1001", "amount": 1}
    assert json.loads(samples[1]["text"])["payload"] == {"orderId": "A-1"}
    assert json.loads(samples[2]["text"])["payload"] == {"orderId": "A-2"}
    assert "charge" in samples[1]["label"]
    assert str(world.completed.pk) in samples[2]["label"]


def test_a_dead_letter_leads_to_a_trial_with_its_message(client, world, page):
    letter = world.dead_letter
    for _ in range(6):
        world.dead_letter.pk = None
        world.dead_letter.save()
    oldest = world.failed.dead_letters.earliest("pk")
    body = '{"correlationId": "c", "payload": {"orderId": "first"}}'
    world.failed.dead_letters.filter(pk=oldest.pk).update(body=body)
    address = reverse("admin:flows_deadletter_change", args=[oldest.pk])

    content = client.get(address).content.decode()
    samples = client.get(samples_url(world), {"sample": str(oldest.pk)}).json()["samples"]

    assert f'href="{page}?sample={oldest.pk}"' in content
    assert len(samples) == 1 + 1 + 5
    [chosen] = [sample for sample in samples if sample["isChosen"]]
    assert chosen["isLast"]
    assert json.loads(chosen["text"])["payload"] == {"orderId": "first"}
    assert client.get(page, {"sample": letter.pk}).status_code == 200


@pytest.mark.parametrize("choice", ["x", "0", "²", "9" * 30, "-1"])
def test_a_sample_that_is_not_there_is_not_chosen(client, world, choice):
    samples = client.get(samples_url(world), {"sample": choice}).json()["samples"]

    assert len(samples) == 2
    assert not any(sample["isChosen"] for sample in samples)


def test_messages_are_shown_only_to_those_who_may_see_runs_and_dead_letters(staff_client, world):
    client = staff_client("scripts.view_script", "scripts.change_script")

    samples = client.get(samples_url(world)).json()["samples"]

    assert [sample["origin"] for sample in samples] == ["Made up"]


def test_only_those_who_may_change_scripts_may_try_them(staff_client, world, page):
    client = staff_client("scripts.view_script")
    addresses = [
        reverse("admin:scripts_script_trial", args=[world.script.pk]),
        reverse("admin:scripts_script_trial_new"),
    ]

    assert [client.post(address).status_code for address in addresses] == [403, 403]
    assert client.get(samples_url(world)).status_code == 403
    assert "trial-run" not in client.get(page).content.decode()


def test_a_trial_is_protected_against_other_sites(superuser, world):
    client = Client(enforce_csrf_checks=True)
    client.force_login(superuser)
    address = reverse("admin:scripts_script_trial", args=[world.script.pk])

    assert client.post(address, {"sample": "{}"}).status_code == 403
    assert client.get(address).status_code == 405


def test_the_page_has_the_addresses_of_trials(client, world, page):
    content = client.get(page).content.decode()

    assert (
        f'data-trial-url="{reverse("admin:scripts_script_trial", args=[world.script.pk])}"'
        in content
    )
    assert 'data-editor="python"' in content
    assert 'data-mode-from="language"' in content
    assert "django_ace/ace/ace.js" in content


def samples_url(world):
    return reverse("admin:scripts_script_samples", args=[world.script.pk])
