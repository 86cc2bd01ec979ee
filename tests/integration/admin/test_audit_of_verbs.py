"""Each verb of operators leaves one entry in the audit log, through whichever door it comes."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from flows import engine, public
from flows.dead_letters import DeadLetterFilter
from flows.models import AuditEntry, DeadLetter, Flow, Queue, Reprocessing, Run
from flows.tasks import reprocessing

REASON = "the warehouse moves"


@dataclass
class Doors:
    """What the verbs are about, and who calls them."""

    user: User
    flow: Flow
    queue: Queue
    run: Run
    letter: DeadLetter
    client: Client

    def post(self, url: str, body: Any = None, method: str = "post") -> Any:
        """Call the API, with the reason in the body."""
        data = {"reason": REASON} | (body or {})
        call = getattr(self.client, method)
        response = call(f"/async/api/{url}", data, content_type="application/json")
        assert response.status_code < 300, response.content
        return response

    def press(self, url: str, **data: Any) -> Any:
        """Send a form of the Configuration Manager, with the reason."""
        sent = {"_form_submitted": "True", "reason": REASON} | data
        response = self.client.post(f"/admin/flows/{url}", sent)
        assert response.status_code in {200, 302}, response.content
        return response

    def select(self, model: str, action: str, row: Any) -> None:
        data = {"action": action, "_selected_action": [row.pk], "_confirmed": "yes"}
        self.press(f"{model}/", **data)


@pytest.fixture
def doors(world, client, superuser, monkeypatch) -> Doors:
    # As in a server, not as in a command.
    monkeypatch.setattr(sys, "argv", ["gunicorn"])
    started = engine.start("order-processing", {"orderId": "A-1", "amount": 1})
    run = Run.objects.get(pk=started.correlation_id)
    return Doors(superuser, world.flow, world.orders, run, world.dead_letter, client)


def paused(doors: Doors) -> None:
    engine.pause(doors.queue)


def paused_flow(doors: Doors) -> None:
    engine.pause(doors.flow)


def running(doors: Doors) -> None:
    reprocessing.reprocess_many(DeadLetterFilter(), sample=0)


def stopped(doors: Doors) -> None:
    running(doors)
    reprocessing.stop(Reprocessing.objects.get())


def nothing(doors: Doors) -> None:
    """Leave all as it is."""


By = dict[str, Any]
MANY: By = {"filter": {}}


def by(doors: Doors) -> By:
    return {"user": doors.user, "reason": REASON}


def begin_many(doors: Doors) -> None:
    sent = {"script": "own", "sample": 0, "note": REASON, "reason": ""}
    asked = doors.press("reprocessing/begin/", **sent)
    doors.press("reprocessing/begin/", **sent, confirmed=asked.context["confirmed"])


Act = Callable[[Doors], Any]
# The verb in the log; what is made first; the calls by their doors.
VERBS: dict[str, tuple[str, Callable[[Doors], None], dict[str, Act]]] = {
    "cancel": (
        "cancel",
        nothing,
        {
            "code": lambda w: engine.cancel(w.run, **by(w)),
            "public": lambda w: public.cancel(w.run.pk, **by(w)),
            "api": lambda w: w.post(f"runs/{w.run.pk}/cancel"),
            "page": lambda w: w.press(f"run/{w.run.pk}/cancel/"),
            "list": lambda w: w.select("run", "cancel_selected", w.run),
        },
    ),
    "bypass the pause": (
        "bypass the pause",
        paused,
        {
            "code": lambda w: engine.bypass_pause(w.run, **by(w)),
            "page": lambda w: w.press(f"run/{w.run.pk}/bypass_pause/"),
            "queue": lambda w: w.press(f"queue/{w.queue.pk}/let_one_through/"),
        },
    ),
    "pause a queue": (
        "pause",
        nothing,
        {
            "code": lambda w: engine.pause(w.queue, **by(w)),
            "public": lambda w: public.pause(queue=w.queue.name, **by(w)),
            "api": lambda w: w.post(f"queues/{w.queue.name}/pause"),
            "page": lambda w: w.press(f"queue/{w.queue.pk}/pause/"),
            "list": lambda w: w.select("queue", "pause_selected", w.queue),
        },
    ),
    "resume a queue": (
        "resume",
        paused,
        {
            "code": lambda w: engine.resume(w.queue, **by(w)),
            "public": lambda w: public.resume(queue=w.queue.name, **by(w)),
            "api": lambda w: w.post(f"queues/{w.queue.name}/resume"),
            "page": lambda w: w.press(f"queue/{w.queue.pk}/resume/"),
            "list": lambda w: w.select("queue", "resume_selected", w.queue),
        },
    ),
    "pause a flow": (
        "pause",
        nothing,
        {
            "code": lambda w: engine.pause(w.flow, **by(w)),
            "public": lambda w: public.pause(flow="order-processing", **by(w)),
            "page": lambda w: w.press(f"flow/{w.flow.pk}/pause/"),
            "list": lambda w: w.select("flow", "pause_selected", w.flow),
        },
    ),
    "resume a flow": (
        "resume",
        paused_flow,
        {
            "code": lambda w: engine.resume(w.flow, **by(w)),
            "public": lambda w: public.resume(flow="order-processing", **by(w)),
            "page": lambda w: w.press(f"flow/{w.flow.pk}/resume/"),
            "list": lambda w: w.select("flow", "resume_selected", w.flow),
        },
    ),
    "discard": (
        "discard",
        nothing,
        {
            "code": lambda w: engine.discard(w.letter, **by(w)),
            "public": lambda w: public.discard(w.letter.pk, **by(w)),
            "api": lambda w: w.post(f"dead-letters/{w.letter.pk}", method="delete"),
            "page": lambda w: w.press(f"deadletter/{w.letter.pk}/discard/"),
            "list": lambda w: w.press("deadletter/discard-many/", ids=w.letter.pk),
        },
    ),
    "reprocess": (
        "reprocess",
        nothing,
        {
            "code": lambda w: engine.reprocess(w.letter, **by(w)),
            "public": lambda w: public.reprocess(w.letter.pk, **by(w)),
            "api": lambda w: w.post(f"dead-letters/{w.letter.pk}/reprocess"),
            "page": lambda w: w.press(
                f"deadletter/{w.letter.pk}/reprocess/", script="own", payload='{"orderId": "A-1"}'
            ),
        },
    ),
    "reprocess many": (
        "reprocess many",
        nothing,
        {
            "code": lambda w: reprocessing.reprocess_many(DeadLetterFilter(), **by(w)),
            "api": lambda w: w.post("dead-letters/reprocess", MANY),
            "page": begin_many,
        },
    ),
    "stop": (
        "stop",
        running,
        {
            "code": lambda w: reprocessing.stop(Reprocessing.objects.get(), **by(w)),
            "page": lambda w: w.press(f"reprocessing/{Reprocessing.objects.get().pk}/stop/"),
        },
    ),
    "go on": (
        "go on",
        stopped,
        {
            "code": lambda w: reprocessing.go_on(Reprocessing.objects.get(), **by(w)),
            "page": lambda w: w.press(f"reprocessing/{Reprocessing.objects.get().pk}/go_on/"),
        },
    ),
}
CASES = [(name, door) for name, (_, _, doors) in VERBS.items() for door in doors]


@pytest.mark.sampled(2)
@pytest.mark.parametrize(("name", "door"), CASES, ids=lambda each: str(each))
def test_a_verb_is_one_entry_with_user_address_and_reason(doors, name, door):
    verb, prepare, acts = VERBS[name]
    prepare(doors)
    before = set(AuditEntry.objects.values_list("pk", flat=True))

    acts[door](doors)

    entries = AuditEntry.objects.exclude(pk__in=before)
    assert [each.verb for each in entries] == [verb]
    entry = entries.get()
    assert (entry.actor, entry.reason) == ("root", REASON)
    source = {"code": "code", "public": "code", "api": "api"}.get(door, "admin")
    assert entry.source == source
    assert entry.address == ("" if source == "code" else "127.0.0.1")


@pytest.mark.parametrize(
    "body",
    [
        '{"reason": 5}',
        '{"reason": "%s"}' % ("x" * 501),
        '{"why": "x"}',
        "[]",
        "{",
        '{"reason": "\\u0000"}',
    ],
)
def test_the_api_refuses_another_body_and_does_nothing(doors, body):
    url = f"/async/api/queues/{doors.queue.name}/pause"

    response = doors.client.post(url, body, content_type="application/json")

    assert response.status_code == 400
    assert not Queue.objects.filter(paused=True).exists()


@pytest.mark.parametrize("body", ["", "{}", " "])
def test_the_api_needs_no_reason(doors, body):
    url = f"/async/api/queues/{doors.queue.name}/pause"

    response = doors.client.post(url, body, content_type="application/json")

    assert response.status_code == 200
    assert Queue.objects.filter(paused=True).exists()


def test_a_body_that_is_no_json_is_not_looked_at(doors):
    url = f"/async/api/queues/{doors.queue.name}/pause"

    response = doors.client.post(url, "reason=x", content_type="application/x-www-form-urlencoded")

    assert response.status_code == 200
    assert AuditEntry.objects.get(verb="pause").reason == ""


@pytest.mark.parametrize("reason", [None, 5, "x" * 501, "a\0b", "\ud800"])
def test_the_public_functions_refuse_a_reason_that_cannot_be_stored(doors, reason):
    for call in (
        lambda: public.pause(flow="order-processing", reason=reason),
        lambda: public.cancel(doors.run.pk, reason=reason),
    ):
        with pytest.raises(ValueError, match="reason must be"):
            call()

    assert not Flow.objects.filter(paused=True).exists()
    assert Run.objects.get(pk=doors.run.pk).status == Run.Status.QUEUED
