"""Payloads are erased wherever they are, and nothing else is."""

import json
from datetime import timedelta
from io import StringIO
from uuid import uuid4

import pytest
from django.contrib.auth.models import AnonymousUser
from django.core.management import CommandError, call_command
from django.db import connection
from django.utils import timezone

from flows import engine, public
from flows.erasure import erasing
from flows.erasure.erasing import Selection, erase, preview
from flows.erasure.places import PLACES
from flows.errors import PayloadErased
from flows.models import (
    AuditEntry,
    BranchEnd,
    DeadLetter,
    Run,
    RunLabel,
    RunningAttempt,
    WebhookDelivery,
)
from flows.monitoring.conservation import check
from flows.monitoring.trace import trace_json
from flows.run_again import run_again
from flows.tasks.run_texts import gather
from tests.builders import make_flow, run_of, work_until_idle

pytestmark = pytest.mark.django_db

MARKER = "Zeiglmeier-4711-Übersee"
FAILS_FIRST = (
    "def run(message, context):\n"
    "    context.log('seen ' + message['payload']['name'])\n"
    "    if context.attempt == 1:\n"
    "        raise Retry(after=0, reason='not yet ' + message['payload']['name'])\n"
    "    return message\n"
)
REJECTS = (
    "def run(message, context):\n"
    "    name = message['payload']['name']\n"
    "    if message['payload'].get('dies'):\n"
    "        raise Reject('no ' + name, code=name, details={'name': name})\n"
    "    return message\n"
)
RIGHTS = {"start", "watch", "operate"}


def tables_with(text: str) -> dict[str, int]:
    """Return the tables that have a text in any column, and in how many rows.

    Those of the index of the search are among them.
    """
    found = {}
    forms = {text, json.dumps(text)[1:-1], text.upper(), text.lower()}
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names(cursor):
            cursor.execute(f'SELECT * FROM "{table}"')
            rows = [" ".join(map(_as_text, row)) for row in cursor.fetchall()]
            if count := sum(any(form in row for form in forms) for row in rows):
                found[table] = count
    return found


def indexed(part: str) -> bool:
    """Say whether SQLite's index of the search has a part of a text."""
    if connection.vendor != "sqlite":
        return False
    with connection.cursor() as cursor:
        cursor.execute("SELECT block FROM flows_runtext_index_data")
        return any(part.lower().encode() in block for (block,) in cursor.fetchall())


def _as_text(value: object) -> str:
    return (
        bytes(value).decode(errors="replace")
        if isinstance(value, bytes | memoryview)
        else str(value)
    )


def start(flow: str = "flow", name: str = MARKER, **options: object) -> Run:
    payload = {"name": name, "dies": options.pop("dies", False)}
    return run_of(engine.start(flow, payload, **options).correlation_id)


def put_where_a_payload_can_reach() -> dict[str, Run]:
    """Have runs with the marker in every place; return them by what became of them."""
    flow = make_flow(codes=[FAILS_FIRST, REJECTS], max_deliveries=3)
    done = start(idempotency_key=f"key {MARKER}", labels={"customer": "77"})
    dead = start(dies=True, labels={"customer": "77"})
    work_until_idle(flow)
    cancelled = start(labels={"customer": "77"})
    engine.cancel(cancelled)
    again = run_of(run_again(run_of(done.pk), RIGHTS, user=AnonymousUser()).started.correlation_id)
    work_until_idle(flow)
    # What is left of workers that were killed, and of receivers.
    RunningAttempt.objects.create(
        pk=dead.pk, consumer_id=1, delivery=1, started_at=timezone.now(), logs=f'["{MARKER}"]'
    )
    BranchEnd.objects.create(run=dead, branch="1", body=f'"{MARKER}"')
    for status in WebhookDelivery.Status:
        WebhookDelivery.objects.create(
            id=uuid4(),
            run=done,
            kind=WebhookDelivery.Kind.CALLBACK,
            url="https://example.org/",
            run_status=Run.Status.COMPLETED,
            at=timezone.now(),
            status=status,
            **dict.fromkeys(("body", "answer", "error"), MARKER),
        )
    gather(settled=timedelta(0))
    gather(settled=timedelta(0))
    return {"done": done, "dead": dead, "cancelled": cancelled, "again": again}


def test_every_place_is_swept_and_nothing_else_breaks():
    runs = put_where_a_payload_can_reach()
    other = start(name="Other customer")
    work_until_idle(other.flow_version.flow)
    selection = Selection(label=("customer", "77"))

    told = preview(selection, Run.objects.all())
    assert set(told.places) == {place.name for place in PLACES}
    assert tables_with(MARKER)
    # The index of SQLite has parts of three characters, with their places.
    assert indexed(MARKER[:3]) or connection.vendor != "sqlite"

    done = erase(selection, Run.objects.all(), reason="asked for")

    assert tables_with(MARKER) == {}
    assert not indexed(MARKER[:3])
    assert (done.runs, done.erased, done.places) == (4, 4, told.places)
    entries = AuditEntry.objects.filter(verb="erase")
    assert {entry.target_id for entry in entries} == {str(run.pk) for run in runs.values()}
    assert {entry.reason for entry in entries} == {"asked for"}
    assert {(entry.after or {})["asked"] for entry in entries} == {"label customer:77"}
    assert not DeadLetter.objects.open().exists()
    assert RunLabel.objects.count() == 3
    # The others are whole, the erased ones say what they are, and nothing starts them again.
    assert "Other customer" in run_of(other.pk).result
    for name, run in runs.items():
        shown = json.loads(trace_json(run_of(run.pk)))
        assert shown["erasedAt"]
        assert shown["result"] is None
        with pytest.raises(PayloadErased):
            run_again(run_of(run.pk), RIGHTS, user=None)
        if name == "done":
            with pytest.raises(public.PayloadErased):
                public.result(run.pk)
    with pytest.raises(PayloadErased):
        engine.reprocess(DeadLetter.objects.get())
    assert [fault for checked in check() for fault in checked.faults()] == []
    # A second call finds nothing; what the gatherer does afterwards brings nothing back.
    gather(settled=timedelta(0))
    assert erase(selection, Run.objects.all()).places == {}
    assert tables_with(MARKER) == {}


def test_nothing_is_erased_while_a_run_is_under_way():
    make_flow(codes=[FAILS_FIRST])
    run = start(labels={"customer": "77"})

    for options in ({"correlation_id": run.pk}, {"label": "customer:77"}):
        with pytest.raises(CommandError, match=r"is QUEUED: cancel it or wait for its end"):
            call_command("erase", **options)
    assert tables_with(MARKER)

    engine.cancel(run)
    told = StringIO()
    call_command("erase", "--correlation-id", str(run.pk), "--dry-run", stdout=told)
    assert told.getvalue() == "searchTexts  1\nwaitingMessages  1\nRuns to be erased: 1 of 1\n"
    told = StringIO()
    call_command("erase", "--correlation-id", str(run.pk), stdout=told)
    assert told.getvalue() == "searchTexts  1\nwaitingMessages  1\nRuns erased: 1 of 1\n"
    assert tables_with(MARKER) == {}


def test_what_is_erased_stays_erased_when_it_breaks_off(monkeypatch):
    make_flow(codes=[FAILS_FIRST])
    for _ in range(5):
        engine.cancel(start(labels={"customer": "77"}))
    monkeypatch.setattr(erasing, "BATCH", 2)
    selection = Selection(label=("customer", "77"))

    some = erase(selection, Run.objects.all(), seconds=0)
    assert (some.runs, some.erased, some.is_complete) == (5, 2, False)
    monkeypatch.setattr(erasing, "erase_places", broken_after(1))
    with pytest.raises(OSError, match="killed"):
        erase(selection, Run.objects.all())
    assert Run.objects.filter(erased_at__isnull=False).count() == 2
    monkeypatch.undo()

    assert erase(selection, Run.objects.all()).is_complete
    assert tables_with(MARKER) == {}
    assert AuditEntry.objects.filter(verb="erase").count() == 5


def broken_after(count: int):
    """Return a way to erase one run that breaks after this number of them."""
    calls: list[object] = []

    def erase_one(run_id, now):
        if len(calls) == count:
            raise OSError("killed")
        calls.append(run_id)
        return erasing_places(run_id, now)

    erasing_places = erasing.erase_places
    return erase_one
