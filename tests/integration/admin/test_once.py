"""What a form asks for is done once, however often the browser sends it."""

from __future__ import annotations

import pytest
from django.db import OperationalError
from django.test import Client
from django.urls import reverse

from flows import engine
from flows.admin import once, run_again
from flows.errors import CommitInDoubt
from flows.models import CachedValue, Flow, Message, Queue, Run
from tests.builders import ECHO, make_flow
from tests.integration.admin.pages import hidden_fields, messages_of

HTMX = {"HX-Request": "true"}


@pytest.fixture
def queue(db) -> Queue:
    """Return a paused queue that holds messages back."""
    flow = make_flow("orders", [ECHO])
    engine.start_many(flow.name, [{}] * 4)
    queue = Queue.objects.get()
    engine.pause(queue)
    return queue


def bypassing() -> int:
    return Message.objects.filter(bypasses_pause=True).count()


def dialog_fields(response) -> dict[str, str]:
    return {**hidden_fields(response), "_form_submitted": "True"}


@pytest.mark.parametrize("headers", [HTMX, {}], ids=["htmx", "no JavaScript"])
def test_a_dialog_that_is_sent_twice_acts_once_and_leads_to_the_same_page(client, queue, headers):
    address = reverse("admin:flows_queue_let_one_through", args=[queue.pk])
    sent = dialog_fields(client.get(address, headers=headers))

    first, second = (client.post(address, sent, headers=headers) for _ in range(2))

    assert bypassing() == 1
    place = "HX-Redirect" if headers else "Location"
    assert first[place] == second[place] == reverse("admin:flows_queue_change", args=[queue.pk])
    assert once.TWICE in messages_of(client.get(second[place]))

    client.post(address, dialog_fields(client.get(address, headers=headers)), headers=headers)
    assert bypassing() == 2


def test_forms_of_whole_pages_are_taken_once(client, queue):
    flow = Flow.objects.get()
    address = reverse("admin:flows_flow_start", args=[flow.pk])
    sent = hidden_fields(client.get(address)) | {"payload": '{"a": 1}', "priority": "5"}
    before = Run.objects.count()

    first, second = (client.post(address, sent) for _ in range(2))

    assert Run.objects.count() == before + 1
    assert first["Location"] == second["Location"]
    # Another payload is another start.
    client.post(address, {**sent, "payload": '{"a": 2}'})
    assert Run.objects.count() == before + 2


def test_a_form_that_was_refused_is_sent_again_as_it_was(client, queue):
    flow = Flow.objects.get()
    address = reverse("admin:flows_flow_start", args=[flow.pk])
    sent = hidden_fields(client.get(address)) | {"payload": '{"a": 1}', "priority": "5"}
    Flow.objects.update(active=False)
    before = Run.objects.count()
    refused = client.post(address, sent)
    assert (refused.status_code, Run.objects.count()) == (200, before)
    Flow.objects.update(active=True)

    client.post(address, sent)

    assert Run.objects.count() == before + 1


def test_one_whose_outcome_is_not_known_says_so_and_does_nothing(client, queue, monkeypatch):
    monkeypatch.setattr(once, "PATIENCE_SECONDS", 0.0)
    address = reverse("admin:flows_queue_let_one_through", args=[queue.pk])
    sent = dialog_fields(client.get(address))
    client.post(address, sent)
    # As after a kill between the note and the action.
    CachedValue.objects.update(value="")

    answer = client.post(address, sent)

    assert answer.status_code == 409
    assert once.UNKNOWN.split(",")[0] in answer.content.decode()
    assert client.post(address, sent, headers=HTMX)["HX-Refresh"] == "true"
    assert bypassing() == 1


@pytest.mark.parametrize(
    ("error", "status"), [(CommitInDoubt("lost"), 504), (RuntimeError("behind the commit"), 500)]
)
def test_a_start_that_may_be_stored_is_not_repeated(client, queue, monkeypatch, error, status):
    monkeypatch.setattr(once, "PATIENCE_SECONDS", 0.0)
    client.raise_request_exception = False
    address = reverse("admin:flows_flow_start", args=[Flow.objects.get().pk])
    sent = hidden_fields(client.get(address)) | {"payload": '{"a": 1}', "priority": "5"}
    before, start = Run.objects.count(), engine.start

    def lose_the_answer(*args, **options):
        start(*args, **options)
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(engine, "start", lose_the_answer)
        failed = client.post(address, sent)
    again = client.post(address, sent)

    assert (failed.status_code, again.status_code) == (status, 409)
    assert ("Look whether it was done" in failed.content.decode()) == (status == 504)
    assert Run.objects.count() == before + 1


def test_a_start_that_the_database_refused_is_sent_again_as_it_was(client, queue, monkeypatch):
    client.raise_request_exception = False
    address = reverse("admin:flows_flow_start", args=[Flow.objects.get().pk])
    sent = hidden_fields(client.get(address)) | {"payload": '{"a": 1}', "priority": "5"}
    before = Run.objects.count()

    def refuse(*args, **options):
        raise OperationalError("away")

    with monkeypatch.context() as patch:
        patch.setattr(engine, "start", refuse)
        failed = client.post(address, sent)
    client.post(address, sent)

    assert failed.status_code == 503
    assert Run.objects.count() == before + 1


def test_an_action_on_rows_that_has_done_some_of_them_is_not_repeated(client, queue, monkeypatch):
    monkeypatch.setattr(once, "PATIENCE_SECONDS", 0.0)
    client.raise_request_exception = False
    runs = list(Run.objects.order_by("pk")[:2])
    for run in runs:
        engine.cancel(run)
    address = reverse("admin:flows_run_changelist")
    chosen = {"action": "start_selected_again", "_selected_action": [run.pk for run in runs]}
    token = hidden_fields(client.post(address, chosen))[once.FIELD]
    sent = {**chosen, "_confirmed": "yes", once.FIELD: token}
    before, start = Run.objects.count(), run_again._started
    started: list[engine.Started] = []

    def lose_the_second(*args, **options):
        if started:
            raise OperationalError("away")
        started.append(start(*args, **options))
        return started[0]

    with monkeypatch.context() as patch:
        patch.setattr(run_again, "_started", lose_the_second)
        failed = client.post(address, sent)
    again = client.post(address, sent)

    assert (failed.status_code, again.status_code) == (503, 409)
    assert Run.objects.count() == before + 1


def test_a_form_without_a_login_uses_up_nothing(client, queue):
    address = reverse("admin:flows_queue_let_one_through", args=[queue.pk])
    sent = dialog_fields(client.get(address))

    assert "login" in Client().post(address, sent)["Location"]

    client.post(address, sent)
    assert bypassing() == 1


@pytest.mark.parametrize("name", ["pause", "let_one_through"])
def test_a_dialog_by_its_address_is_a_whole_page_with_a_way_back(client, queue, name):
    address = reverse(f"admin:flows_queue_{name}", args=[queue.pk])
    back = reverse("admin:flows_queue_change", args=[queue.pk])

    page = client.get(address).content.decode()
    part = client.get(address, headers=HTMX).content.decode()

    assert "<title>" in page
    assert "flows/admin.css" in page
    dialog = page[page.index('<div id="dialog">') :]
    assert f'href="{back}"' in dialog[: dialog.index("</form>")]
    assert "hx-post" not in dialog[: dialog.index("</form>")]
    assert "<title>" not in part
    assert "hx-post" in part
    assert "openModal = false" in part
