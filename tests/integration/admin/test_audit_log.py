"""The page of the audit log: who sees it, its filters, its diff and its exports."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.test import Client
from django.urls import reverse

from flows import engine
from flows.access.audit import Target, record
from flows.access.audited_models import CONFIGURATION
from flows.admin import audit_export
from flows.models import AuditEntry, FlowSchedule, Queue
from tests.integration.admin.pages import form_data

ROOT = Path(__file__).resolve().parents[3]
LIST = "/admin/flows/auditentry/"


def shown(response: Any) -> list[str]:
    return [entry.name for entry in response.context["cl"].result_list]


def page(pk: int) -> str:
    return f"{LIST}{pk}/change/"


@pytest.fixture
def entries(db) -> None:
    for number in range(3):
        record("change", Target("queue", f"queue {number}"), before={"size": 1}, after={"size": 2})
    record("pause", Target("flow", "orders"), reason="the bank is away")


def test_change_on_a_page_has_the_user_the_address_and_the_page_as_its_source(client, world):
    url = f"/admin/flows/queue/{world.spare.pk}/change/"
    data = form_data(client.get(url)) | {"size": 55}

    assert client.post(url, data, REMOTE_ADDR="192.0.2.7").status_code == 302

    entry = AuditEntry.objects.first()
    assert (entry.actor, entry.source, entry.address) == ("root", "admin", "192.0.2.7")
    assert (entry.verb, entry.kind, entry.name) == ("change", "queue", "spare")
    assert (entry.before, entry.after) == ({"size": 10_000}, {"size": 55})


def test_address_is_that_of_the_caller_behind_trusted_proxies_alone(client, world, settings):
    forwarded = {"HTTP_X_FORWARDED_FOR": "203.0.113.9, 192.0.2.1"}
    url = f"/admin/flows/queue/{world.spare.pk}/pause/"

    client.post(url, {"_form_submitted": "True"}, **forwarded)
    faked = AuditEntry.objects.first().address
    settings.REST_FRAMEWORK = settings.REST_FRAMEWORK | {"NUM_PROXIES": 1}
    client.post(url.replace("pause", "resume"), {"_form_submitted": "True"}, **forwarded)

    assert (faked, AuditEntry.objects.first().address) == ("127.0.0.1", "192.0.2.1")


def test_action_by_the_api_has_the_api_as_its_source(client, world):
    client.post("/async/api/queues/spare/pause")

    entry = AuditEntry.objects.first()
    assert (entry.verb, entry.source, entry.actor) == ("pause", "api", "root")


def test_login_of_staff_its_failure_and_its_end_are_recorded(superuser):
    browser = Client()
    login = {"username": "root", "password": "wrong"}

    browser.post("/admin/login/", login)
    browser.post("/admin/login/", login | {"password": "secret"})
    browser.post("/admin/logout/")

    found = AuditEntry.objects.filter(kind="user", source="admin").order_by("pk")
    assert [(each.verb, each.name, each.actor) for each in found] == [
        ("fail to log in", "root", ""),
        ("log in", "root", "root"),
        ("log out", "root", "root"),
    ]


def test_name_that_no_user_has_is_not_recorded_it_may_be_a_password(superuser):
    Client().post("/admin/login/", {"username": "my passphrase", "password": "x"})

    entry = AuditEntry.objects.first()
    assert (entry.verb, entry.name) == ("fail to log in", "")


def test_list_is_open_to_superusers_and_with_the_permission_and_a_right_to_every_flow(
    client, staff_client, entries, give_right
):
    staff = staff_client("flows.view_auditentry")

    without_the_right = staff.get(LIST)
    give_right("watch")

    assert client.get(LIST).status_code == 200
    assert without_the_right.status_code == 403
    assert staff.get(LIST).status_code == 200


def test_list_page_and_exports_are_closed_to_others(staff_client, entries, give_right):
    entry = AuditEntry.objects.first()
    staff = staff_client("flows.view_flow", "flows.change_flow")
    give_right("operate")

    for url in (LIST, page(entry.pk), f"{LIST}export.csv", f"{LIST}export.ndjson"):
        assert staff.get(url).status_code == 403
    assert "Audit log" not in staff.get("/admin/").content.decode()


def test_page_of_an_entry_changes_and_deletes_nothing(client, entries):
    entry = AuditEntry.objects.first()

    shown_page = client.get(page(entry.pk))
    posted = client.post(page(entry.pk), {"verb": "another"})
    deleted = client.post(f"{LIST}{entry.pk}/delete/", {"post": "yes"})
    chosen = {"action": "delete_selected", "_selected_action": [entry.pk], "post": "yes"}
    client.post(LIST, chosen)

    assert shown_page.status_code == 200
    assert (posted.status_code, deleted.status_code) == (403, 403)
    assert AuditEntry.objects.filter(pk=entry.pk, verb="pause").exists()


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("verb=pause", ["orders"]),
        ("kind=queue", ["queue 2", "queue 1", "queue 0"]),
        ("name=queue+1", ["queue 1"]),
        ("q=bank", ["orders"]),
        ("q=QUEUE+2", ["queue 2"]),
        ("source__exact=api", []),
        ("at_from_0=2001-01-01&at_to_0=2001-01-02", []),
        ("q=orders&at_to_0=9999-12-31&at_zone=America%2FNew_York", ["orders"]),
        ("q=orders&at_from_0=0001-01-01&at_zone=Asia%2FTokyo", ["orders"]),
        ("actor=no+such+user", []),
    ],
)
def test_list_is_filtered(client, entries, query, names):
    newest = AuditEntry.objects.filter(kind="user").order_by("pk").last()

    response = client.get(f"{LIST}?{query}")

    assert response.status_code == 200
    assert [name for name in shown(response) if name != newest.name] == names


def test_text_is_found_in_the_values_before_and_after(client, db):
    record("change", Target("script", "score"), before={"code": "a = 'Grün'"}, after={"code": "b"})
    record("change", Target("script", "other"), before={"code": "c"}, after={"code": "d"})

    assert shown(client.get(f"{LIST}?q=Grün")) == ["score"]


def test_page_shows_the_changed_lines_of_a_text(client, db):
    before = {"code": "a = 1\nb = 2\nc = 3\n", "roles": ["one", "two"], "memory_mb": 64}
    after = {"code": "a = 1\nb = 7\nc = 3\n", "roles": ["two", "<script>"], "memory_mb": 64}
    record("change", Target("script", "score"), before=before, after=after)

    html = client.get(page(AuditEntry.objects.first().pk)).content.decode()

    assert '<td class="diff-text">b = 2</td>' in html
    assert '<td class="diff-text">b = 7</td>' in html
    assert "<ins>&lt;script&gt;</ins>" in html
    assert "<del>one</del>" in html


def body_of(response: Any) -> str:
    return b"".join(response.streaming_content).decode()


def test_exports_have_the_entries_of_the_filtered_list_over_all_pages(
    client, entries, monkeypatch, django_assert_max_num_queries
):
    for number in range(130):
        record("change", Target("queue", f"more {number}"), after={"size": number})
    monkeypatch.setattr(audit_export, "BATCH", 50)

    rows = list(csv.DictReader(io.StringIO(body_of(client.get(f"{LIST}export.csv?kind=queue")))))
    lines = body_of(client.get(f"{LIST}export.ndjson?kind=queue")).splitlines()

    assert len(rows) == len(lines) == 133
    assert [row["name"] for row in rows] == [json.loads(line)["name"] for line in lines]
    assert json.loads(rows[0]["after"]) == {"size": 129}
    assert json.loads(lines[-1])["before"] == {"size": 1}


@pytest.mark.parametrize("ending", ["csv", "ndjson"])
@pytest.mark.parametrize("query", ["foo=1", "at_from_0=30.11.2026", "source__x=2"])
def test_export_says_as_the_list_does_that_an_address_cannot_be_read(
    client, entries, query, ending
):
    response = client.get(f"{LIST}export.{ending}?{query}")

    assert response.status_code == 400
    assert query in response.content.decode()


def test_export_takes_the_address_of_any_page_of_the_list(client, entries):
    of_page, of_all = (
        body_of(client.get(f"{LIST}export.ndjson{query}")) for query in ("?p=9999&e=1", "")
    )

    assert of_page == of_all != ""


def test_cell_of_the_csv_is_no_formula(client, db):
    record("change", Target("flow", "=HYPERLINK(1)"), reason="@SUM(1)")

    text = body_of(client.get(f"{LIST}export.csv"))

    assert ",'=HYPERLINK(1)," in text
    assert ",'@SUM(1)" in text


def test_list_leads_to_no_page_that_there_is_not(client, entries):
    of_few = client.get(LIST).content.decode()
    for number in range(60):
        record("change", Target("queue", f"more {number}"), after={"size": number})
    first, second = (client.get(LIST, {"p": page}).content.decode() for page in (1, 2))

    assert [words in of_few for words in (">Previous<", ">Next<")] == [False, False]
    assert [words in first for words in (">Previous<", ">Next<")] == [False, True]
    assert [words in second for words in (">Previous<", ">Next<")] == [True, False]


def test_list_needs_few_queries_whatever_it_holds(client, entries, django_assert_max_num_queries):
    for number in range(60):
        record("change", Target("queue", f"more {number}"), after={"size": number})

    with django_assert_max_num_queries(12):
        client.get(LIST)


def test_user_of_the_entries_can_be_deleted_and_the_entries_stay(client, world):
    user = User.objects.create_user("leaver", password="secret")
    engine.pause(world.spare, user=user)
    engine.resume(world.spare, user=user)
    Queue.history.all().update(history_user=None)

    url = f"/admin/auth/user/{user.pk}/delete/"
    assert client.post(url, {"post": "yes"}).status_code == 302

    assert not User.objects.filter(username="leaver").exists()
    verbs = AuditEntry.objects.filter(actor="leaver").values_list("verb", flat=True)
    assert set(verbs) == {"pause", "resume"}


def recorded_verbs() -> set[str]:
    """Return the verbs that the code of the engine records."""
    call = re.compile(r"\b(?:record|acting)\(\s*\"([a-z ]+)\"")
    files = [file for room in ("flows", "scripts") for file in (ROOT / room).rglob("*.py")]
    return {verb for file in files for verb in call.findall(file.read_text(encoding="utf-8"))}


def test_the_filters_offer_each_verb_and_each_kind_that_is_recorded(client, db):
    kinds = {str(model._meta.verbose_name) for model in CONFIGURATION if model is not Group}

    verbs_and_kinds = [
        {value for value, _ in found.lookup_choices}
        for name in ("verb", "kind")
        for found in client.get(LIST).context["cl"].filter_specs
        if getattr(found, "parameter_name", "") == name
    ]

    verbs, offered = verbs_and_kinds
    # A start is what spans of traces record.
    assert recorded_verbs() <= verbs
    assert {*kinds, "role", "user", "token", "run", "dead letter", "scheduled task"} <= offered


def test_a_schedule_of_a_flow_is_told_from_a_task_of_the_scheduler(client, world):
    schedule = FlowSchedule.objects.create(flow=world.flow, name="nightly", cron="0 0 1 1 *")
    page = reverse("admin:django_q_schedule_add")
    sent = {"name": "sweep", "func": "flows.tasks.retention.purge", "schedule_type": "D"}

    client.post(page, sent | {"repeats": "-1", "next_run_0": "2026-11-30", "next_run_1": "10:00"})

    schedules = client.get(LIST, {"kind": "schedule"})
    assert shown(schedules) == ["order-processing / nightly"]
    assert f'/flowschedule/{schedule.pk}/change/"' in schedules.content.decode()
    assert shown(client.get(LIST, {"kind": "scheduled task"})) == ["flows.tasks.retention.purge"]
