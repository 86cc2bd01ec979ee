"""Long results and messages: pages stay small, and the whole can be had."""

from __future__ import annotations

import json

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from flows.models import DeadLetter, Message, Run, StepRun
from flows.monitoring.trace import trace

SMALL_PAGE = 600_000


def page_of(kind: str, obj: Run | DeadLetter, page: str = "change") -> str:
    return reverse(f"admin:flows_{kind}_{page}", args=[obj.pk])


def envelope(run: Run, payload: str) -> str:
    return f'{{"correlationId":"{run.pk}","payload":{payload}}}'


@pytest.fixture
def long_run(world):
    result = json.dumps({"text": "x" * 3_000_000, "end": "the very end"})
    Run.objects.filter(pk=world.completed.pk).update(result=result)
    return Run.objects.get(pk=world.completed.pk)


@pytest.fixture
def long_letter(world):
    letter = world.dead_letter
    letter.body = envelope(letter.run, json.dumps({"text": "x" * 3_000_000, "end": "the very end"}))
    letter.save()
    return letter


def test_run_page_shows_the_beginning_of_a_long_result_and_leads_to_the_whole(client, long_run):
    response = client.get(page_of("run", long_run))

    content = response.content.decode()
    assert len(content) < SMALL_PAGE
    assert "the very end" not in content
    assert "of 2.9\xa0MB" in content
    whole = client.get(page_of("run", long_run, "result"))
    assert page_of("run", long_run, "result") in content
    assert whole.content.decode() == long_run.result
    assert whole["Content-Type"] == "application/json"
    assert "attachment" in whole["Content-Disposition"]


def test_dead_letter_page_shows_the_beginning_of_a_long_message(client, long_letter):
    content = client.get(page_of("deadletter", long_letter)).content.decode()

    assert len(content) < SMALL_PAGE
    assert "the very end" not in content
    whole = client.get(page_of("deadletter", long_letter, "body"))
    assert whole.content.decode() == long_letter.body


def test_long_message_is_not_edited_in_a_form_but_can_be_requeued(client, long_letter):
    page = page_of("deadletter", long_letter, "reprocess")

    content = client.get(page).content.decode()
    client.post(page, {"script": "own"})

    assert len(content) < SMALL_PAGE
    assert page_of("deadletter", long_letter, "body") in content
    assert Message.objects.get().body == long_letter.body


@pytest.mark.parametrize(
    ("kind", "column"),
    [("run", '"flows_run"."result"'), ("deadletter", '"flows_deadletter"."body"')],
)
def test_lists_do_not_read_long_texts(client, world, kind, column):
    with CaptureQueriesContext(connection) as queries:
        client.get(reverse(f"admin:flows_{kind}_changelist"))

    assert not [query["sql"] for query in queries if column in query["sql"]]


def test_pages_of_many_levels_stay_small(client, world):
    deep = "[" * 200 + ",".join("1" * 30_000) + "]" * 200
    Run.objects.filter(pk=world.completed.pk).update(result=deep)

    assert len(client.get(page_of("run", world.completed)).content) < SMALL_PAGE


def test_logs_of_an_attempt_are_cut(client, world):
    line = {"at": 1.0, "level": "info", "text": "y" * 8000}
    StepRun.objects.filter(run=world.failed).update(logs=json.dumps([line] * 100))

    content = client.get(page_of("run", world.failed)).content.decode()

    assert len(content) < SMALL_PAGE
    assert "cut here" in content
    assert ">00:00:01.000 UTC</time> info" in content
    assert len(trace(world.failed)["steps"][0]["attempts"][0]["logs"]) == 100


@pytest.mark.parametrize(("kind", "field"), [("run", "result"), ("deadletter", "body")])
def test_the_whole_is_only_for_those_who_see_the_page(
    client, world, kind, field, django_user_model
):
    user = django_user_model.objects.create_user("clerk", password="x", is_staff=True)
    client.force_login(user)
    shown = world.completed if kind == "run" else world.dead_letter

    assert client.get(page_of(kind, shown, field)).status_code in (403, 404)


def test_a_run_without_a_result_has_nothing_to_download(client, world):
    response = client.get(page_of("run", world.failed, "result"))

    assert response.status_code == 404
