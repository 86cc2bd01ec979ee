"""Actions on the selected rows of a list: the server asks before it changes anything."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from django.contrib.auth.models import User
from knox.models import AuthToken

from flows import engine
from flows.models import AuditEntry, Flow, Queue, Run
from scripts.admin import bulk

LISTS = {
    "queue": "/admin/flows/queue/",
    "flow": "/admin/flows/flow/",
    "run": "/admin/flows/run/",
    "user": "/admin/auth/user/",
    "token": "/admin/knox/authtoken/",
    "script": "/admin/scripts/script/",
}


@dataclass(frozen=True)
class Case:
    """An action, the list, the button that confirms it, and what it changes."""

    kind: str
    action: str
    button: str


CASES = [
    Case("queue", "pause_selected", "Pause 2 queues"),
    Case("queue", "resume_selected", "Resume 2 queues"),
    Case("queue", "delete_selected", "Delete 2 queues"),
    Case("flow", "pause_selected", "Pause 2 flows"),
    Case("flow", "resume_selected", "Resume 2 flows"),
    Case("flow", "activate", "Activate 2 flows"),
    Case("flow", "deactivate", "Deactivate 2 flows"),
    Case("run", "cancel_selected", "Cancel 2 runs"),
    Case("user", "deactivate", "Deactivate 2 users"),
    Case("token", "revoke", "Revoke 2 API tokens"),
]


@pytest.fixture
def rows(world, superuser) -> dict[str, list[Any]]:
    """Return two rows of each kind that no other row holds."""
    users = [User.objects.create_user(f"clerk {number}") for number in range(2)]
    for _ in users:
        AuthToken.objects.create(superuser)
    return {
        "queue": [Queue.objects.create(name=f"empty {number}") for number in range(2)],
        "flow": [Flow.objects.create(name=f"quiet {number}") for number in range(2)],
        "run": [_waiting_run() for _ in range(2)],
        "user": users,
        "token": list(AuthToken.objects.order_by("pk")),
    }


def _waiting_run() -> Run:
    started = engine.start("order-processing", {"orderId": "A-1", "amount": 1})
    return Run.objects.get(pk=started.correlation_id)


def prepare(case: Case, rows: list[Any]) -> None:
    """Give the rows the state that the action changes."""
    for row in rows:
        if case.action == "resume_selected":
            engine.pause(row)
        if case.action == "activate":
            Flow.objects.filter(pk=row.pk).update(active=False)


def state(rows: list[Any]) -> list[Any]:
    model = type(rows[0])
    return list(model.objects.filter(pk__in=[row.pk for row in rows]).order_by("pk").values())


@pytest.mark.sampled(4)
@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.kind} {case.action}")
def test_an_action_asks_on_the_server_with_the_number_and_is_named_on_its_button(
    client, rows, case
):
    chosen = rows[case.kind]
    prepare(case, chosen)
    before, entries = state(chosen), AuditEntry.objects.count()
    data = {"action": case.action, "_selected_action": [row.pk for row in chosen], "index": 0}

    asked = client.post(LISTS[case.kind], data)

    assert f"{case.button}</button>" in _without_breaks(asked.content.decode())
    assert state(chosen) == before
    assert AuditEntry.objects.count() == entries

    confirmed = {"_confirmed": "yes", "post": "yes", "reason": "stocktaking"}
    client.post(LISTS[case.kind], {k: v for k, v in data.items() if k != "index"} | confirmed)

    assert state(chosen) != before
    assert AuditEntry.objects.count() == entries + 2
    if case.action != "delete_selected":
        assert AuditEntry.objects.order_by("-id")[0].reason == "stocktaking"


def _without_breaks(text: str) -> str:
    return " ".join(text.split()).replace(" </button>", "</button>")


def test_the_question_names_the_rows_and_those_that_are_left_out(client, world):
    engine.pause(world.spare)
    chosen = {"action": "pause_selected", "_selected_action": [world.orders.pk, world.spare.pk]}

    page = client.post(LISTS["queue"], chosen)

    assert page.context["names"] == ["orders"]
    assert page.context["notes"] == ["Left out, because they are paused: 1."]


def test_an_action_that_would_change_nothing_offers_no_button(client, world):
    chosen = {"action": "resume_selected", "_selected_action": [world.orders.pk]}

    page = client.post(LISTS["queue"], chosen)

    assert "would change none of the selected rows" in page.content.decode()
    assert "Resume 0" not in page.content.decode().replace("Resume 0 queues?", "")


def test_rows_chosen_across_pages_are_those_that_the_question_has_counted(client, world):
    chosen = {
        "action": "pause_selected",
        "_selected_action": [world.orders.pk],
        "select_across": "1",
        "index": 0,
    }

    asked = client.post(LISTS["queue"], chosen)
    Queue.objects.create(name="made meanwhile")
    keys = asked.context["keys"]
    client.post(
        LISTS["queue"],
        {"action": "pause_selected", "_selected_action": keys, "_confirmed": "yes"},
    )

    assert len(keys) == 3
    assert Queue.objects.filter(paused=True).count() == 3


def test_more_rows_than_one_form_holds_are_refused_with_the_most(client, world, monkeypatch):
    monkeypatch.setattr(bulk, "MOST_ROWS", 2)
    keys = list(Queue.objects.values_list("pk", flat=True))

    page = client.post(
        LISTS["queue"],
        {"action": "pause_selected", "_selected_action": keys, "_confirmed": "yes"},
        follow=True,
    )

    assert "Select at most 2 queues at once." in page.content.decode()
    assert not Queue.objects.filter(paused=True).exists()


DIALOGS = [
    ("queue", "pause", "Pause the queue empty 0?"),
    ("queue", "resume", "Resume the queue empty 0?"),
    ("queue", "let_one_through", "Let one message of the queue empty 0 through?"),
    ("flow", "pause", "Pause the flow quiet 0?"),
    ("run", "cancel", "Cancel the run {pk}?"),
    ("run", "bypass_pause", "Let the run {pk} bypass the pause?"),
]


@pytest.mark.parametrize(("kind", "verb", "title"), DIALOGS)
def test_a_dialog_names_its_object_and_asks_for_a_reason(client, rows, kind, verb, title):
    row = rows[kind][0]
    if verb == "resume":
        engine.pause(row)

    dialog = client.get(f"{LISTS[kind]}{row.pk}/{verb}/").content.decode()

    assert title.format(pk=row.pk) in dialog
    assert 'name="reason"' in dialog
