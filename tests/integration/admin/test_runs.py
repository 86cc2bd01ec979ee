from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from flows import engine
from flows.admin.run_list import id_bounds
from flows.admin.run_page import MOST_ATTEMPTS, most_telling
from flows.models import AuditEntry, Message, Run, StepRun
from flows.models.uuid7 import first_uuid7
from flows.monitoring.run_story import Attempt
from tests.builders import make_flow
from tests.integration.admin.pages import act_on, answer_dialog, messages_of
from tests.integration.admin.world import TRACEBACK, add_attempt

LIST = "/admin/flows/run/"


def found(response):
    return [run.pk for run in response.context["cl"].result_list]


def page_of(run):
    return reverse("admin:flows_run_change", args=[run.pk])


def test_list_has_the_newest_first(client, world):
    ids = found(client.get(LIST))

    assert ids == sorted(ids, reverse=True)
    assert len(ids) == 5


def test_list_never_counts_the_runs(client, world):
    with CaptureQueriesContext(connection) as queries:
        client.get(LIST)

    on_runs = [query["sql"] for query in queries if "flows_run" in query["sql"]]
    assert on_runs
    assert not [sql for sql in on_runs if "COUNT(" in sql.upper()]


def test_list_takes_the_same_number_of_queries_for_more_runs(client, world):
    def queries():
        with CaptureQueriesContext(connection) as captured:
            client.get(LIST)
        return len(captured)

    client.get(LIST)
    before = queries()
    version = world.completed.flow_version
    for number in range(20):
        Run.objects.create(
            correlation_id=f"0190aaaa-0000-7000-8000-{number:012d}",
            flow_version=version,
            created_at=world.completed.created_at,
        )

    assert queries() == before


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ("status=FAILED", 1),
        ("flow=order-processing", 5),
        ("flow=nothing", 0),
        ("age=1h", 5),
        ("created_at_from_0=2020-01-01", 5),
        ("created_at_from_0=2020-01-01&created_at_from_1=12:00:00", 5),
        ("created_at_to_0=2020-01-01", 0),
        ("created_at_from_0=2020-01-01&created_at_zone=Asia%2FTokyo", 5),
        ("created_at_to_0=2020-01-01&created_at_zone=..%2Fpasswd", 0),
        ("created_at_to_0=9999-12-31&created_at_zone=America%2FNew_York", 5),
        ("created_at_from_0=0001-01-01&created_at_zone=Asia%2FTokyo", 5),
        ("q=zzz", 0),
    ],
)
def test_list_is_filtered(client, world, query, count):
    assert len(found(client.get(f"{LIST}?{query}"))) == count


@pytest.mark.parametrize("change", ["deleted", "renamed"])
def test_runs_are_found_by_the_name_that_the_list_shows(client, world, change):
    if change == "deleted":
        world.flow.delete()
    else:
        world.flow.name = "renamed"
        world.flow.save()

    page = client.get(f"{LIST}?flow=order-processing&step=charge")

    assert world.failed.pk in found(page)
    # As many filters as were given: the form sends them again.
    for name in ("order-processing", "charge"):
        assert re.search(rf'<option value="{name}"\s+selected', page.content.decode())


@pytest.mark.parametrize(("zone", "count"), [("UTC", 0), ("Asia/Tokyo", 1)])
def test_times_of_a_filter_are_in_the_zone_that_comes_with_them(client, world, zone, count):
    before_midnight = datetime(2026, 1, 5, 23, 30, tzinfo=UTC)
    Run.objects.create(
        correlation_id=first_uuid7(before_midnight),
        flow_version=world.failed.flow_version,
        created_at=before_midnight,
    )
    day = {"created_at_from_0": "2026-01-06", "created_at_to_0": "2026-01-06"}

    assert len(found(client.get(LIST, day | {"created_at_zone": zone}))) == count


def test_lists_that_may_be_long_count_no_rows_for_each_filter(client, world):
    response = client.get(LIST, {"_facets": "True"})

    assert not response.context["cl"].add_facets
    assert "Show counts" not in response.content.decode()


def test_a_run_is_found_by_its_correlation_id_or_its_beginning(client, world):
    whole = str(world.failed.pk)

    assert found(client.get(LIST, {"q": whole})) == [world.failed.pk]
    assert world.failed.pk in found(client.get(LIST, {"q": whole[:13]}))


def test_bounds_of_what_cannot_begin_an_id_are_none():
    assert id_bounds("order-7") is None
    assert id_bounds("0" * 33) is None


def test_a_failed_run_shows_its_attempts_traceback_and_dead_letter(client, world):
    content = client.get(page_of(world.failed)).content.decode()

    assert TRACEBACK.splitlines()[-1] in content
    assert reverse("admin:flows_deadletter_change", args=[world.dead_letter.pk]) in content
    assert reverse("admin:flows_flow_change", args=[world.flow.pk]) in content
    assert "Attempt 1" in content


def test_a_completed_run_shows_its_result_indented_and_its_logs(client, world):
    content = client.get(page_of(world.completed)).content.decode()

    assert "{\n  &quot;mail&quot;: &quot;sent&quot;\n}" in content
    assert "reserved" in content


@pytest.mark.parametrize(
    ("result", "shown"),
    [
        ("[" * 200 + "1.10" + "]" * 200, "1.10"),
        ('{"a":' * 9_000 + "-0" + "}" * 9_000, "-0}"),
        ('{"n":' + "1" * 5000 + ',"x":1.50}', "1" * 5000 + ",\n  &quot;x&quot;: 1.50"),
    ],
    ids=["deep", "deeper than any parser", "more digits than Python reads"],
)
def test_a_result_is_shown_as_it_is_written_however_deep_and_long(client, world, result, shown):
    Run.objects.filter(pk=world.completed.pk).update(result=result)

    response = client.get(page_of(world.completed))

    assert response.status_code == 200
    assert shown in response.content.decode()


def test_only_a_run_that_goes_on_looks_for_news(client, world):
    going_on = Run.objects.get(status=Run.Status.RUNNING)

    assert 'hx-trigger="every' in client.get(page_of(going_on)).content.decode()
    assert 'hx-trigger="every' not in client.get(page_of(world.completed)).content.decode()


def test_a_run_of_a_deleted_flow_still_shows(client, world):
    world.flow.delete()

    response = client.get(page_of(world.completed))

    assert response.status_code == 200
    assert "(deleted)" in response.content.decode()


@pytest.mark.parametrize("object_id", ["nothing", "0190aaaa-0000-7000-8000-000000000000"])
def test_a_run_that_does_not_exist_leads_home(client, world, object_id):
    response = client.get(reverse("admin:flows_run_change", args=[object_id]))

    assert response.status_code == 302


def test_what_the_engine_writes_cannot_be_added_changed_or_deleted(client, world):
    for obj in (world.completed, world.dead_letter, world.flow.versions.get()):
        meta = type(obj)._meta
        name = f"admin:{meta.app_label}_{meta.model_name}"

        assert client.get(reverse(f"{name}_add")).status_code == 403
        assert client.post(reverse(f"{name}_change", args=[obj.pk]), {}).status_code == 403
        assert client.post(reverse(f"{name}_delete", args=[obj.pk]), {}).status_code == 403
        assert type(obj).objects.filter(pk=obj.pk).exists()


@pytest.fixture
def waiting(world):
    """Return a run with a message that waits in the first queue."""
    started = engine.start("order-processing", {"orderId": "A-1", "amount": 1})
    return Run.objects.get(pk=started.correlation_id)


def verb_page(verb, run):
    return reverse(f"admin:flows_run_{verb}", args=[run.pk])


def test_a_run_is_cancelled_on_its_page(client, waiting, superuser):
    assert "/cancel/" in client.get(page_of(waiting)).content.decode()
    client.get(verb_page("cancel", waiting))
    assert Message.objects.count() == 1

    shown = answer_dialog(client, verb_page("cancel", waiting))

    waiting.refresh_from_db()
    assert (waiting.status, waiting.cancelled_by) == (Run.Status.CANCELLED, superuser)
    assert Message.objects.count() == 0
    assert messages_of(shown) == ["The run was cancelled."]
    content = shown.content.decode()
    assert "Cancelled by" in content
    assert "/cancel/" not in content


def test_a_run_that_has_ended_is_not_cancelled(client, world):
    shown = answer_dialog(client, verb_page("cancel", world.completed))

    assert messages_of(shown) == ["The run has ended: COMPLETED."]
    world.completed.refresh_from_db()
    assert world.completed.status == Run.Status.COMPLETED


def test_a_failed_run_whose_other_branches_go_on_is_cancelled_on_its_page(client, world, waiting):
    Run.objects.filter(pk=waiting.pk).update(status=Run.Status.FAILED)
    assert "/cancel/" in client.get(page_of(waiting)).content.decode()

    shown = answer_dialog(client, verb_page("cancel", waiting))

    assert messages_of(shown) == ["The run was cancelled."]
    waiting.refresh_from_db()
    assert waiting.status == Run.Status.CANCELLED
    assert not Message.objects.filter(run=waiting).exists()


def test_runs_are_cancelled_from_the_list(client, world, waiting):
    response = act_on(client, LIST, "cancel_selected", waiting, reason="a test order")

    waiting.refresh_from_db()
    assert waiting.status == Run.Status.CANCELLED
    assert messages_of(response) == ["Cancelled: 1."]
    assert AuditEntry.objects.get(verb="cancel").reason == "a test order"


def test_a_run_may_bypass_a_pause_only_while_something_is_paused(client, world, waiting):
    assert "/bypass_pause/" not in client.get(page_of(waiting)).content.decode()

    for target in (world.orders, world.flow):
        engine.pause(target)
        assert "/bypass_pause/" in client.get(page_of(waiting)).content.decode()
        engine.resume(target)


def test_a_run_bypasses_the_pause(client, world, waiting):
    engine.pause(world.flow)
    client.get(verb_page("bypass_pause", waiting))
    assert Message.objects.get().bypasses_pause is False

    shown = answer_dialog(client, verb_page("bypass_pause", waiting))

    assert Message.objects.get().bypasses_pause is True
    assert "goes on although" in messages_of(shown)[0]
    assert "It goes on although its queues or its flow are paused." in shown.content.decode()
    assert "/bypass_pause/" not in shown.content.decode()


def test_bypassing_a_pause_for_a_run_that_has_ended_says_so(client, world):
    shown = answer_dialog(client, verb_page("bypass_pause", world.completed))

    assert messages_of(shown) == ["The run has ended: COMPLETED."]


@pytest.mark.parametrize("verb", ["cancel", "bypass_pause"])
def test_who_may_only_view_runs_has_no_verbs(staff_client, world, waiting, verb):
    engine.pause(world.flow)
    client = staff_client("flows.view_run")

    assert client.post(verb_page(verb, waiting), {"_form_submitted": "True"}).status_code == 403
    client.post(LIST, {"action": "cancel_selected", "_selected_action": [waiting.pk]})
    assert f"/{verb}/" not in client.get(page_of(waiting)).content.decode()
    message = Message.objects.get()
    assert (message.pk, message.bypasses_pause) == (waiting.pk, False)


def test_a_discarded_dead_letter_of_a_run_says_by_whom(client, world, superuser):
    engine.discard(world.dead_letter, user=superuser)

    assert "discarded" in client.get(page_of(world.failed)).content.decode()


def test_a_cancelled_step_shows_as_cancelled(client, world, waiting):
    add_attempt(waiting, waiting.flow_version.steps.get(name="reserve"), outcome="CANCELLED")
    engine.cancel(waiting)

    [step, _] = client.get(page_of(waiting)).context["run_steps"]

    assert (step["status"], step["label"]) == ("CANCELLED", "warning")
    assert (step["groups"][0]["outcome"], step["groups"][0]["label"]) == (
        "CANCELLED",
        "warning",
    )


def attempt(number: int, outcome: str) -> Attempt:
    now = timezone.now()
    return Attempt(
        number, 1, str(number), outcome, now, now, "", has_input=False, is_cut=False, step_id=1
    )


def test_of_many_branches_those_that_did_not_complete_are_shown_first():
    outcomes = [StepRun.Outcome.COMPLETED] * 100 + [StepRun.Outcome.FAILED]

    shown = most_telling([attempt(at, outcome) for at, outcome in enumerate(outcomes)])

    assert len(shown) == MOST_ATTEMPTS
    assert shown[-1].outcome == "FAILED"


def test_the_page_says_why_the_run_waits(client, world, waiting, superuser):
    engine.pause(world.flow, user=superuser)

    assert "is paused by root since" in client.get(page_of(waiting)).content.decode()


def test_the_attempts_of_branches_are_named_on_the_page(client, world):
    charge = world.completed.flow_version.steps.get(name="charge")
    StepRun.objects.filter(pk=add_attempt(world.completed, charge).pk).update(branch="2")

    assert "Branch 2, attempt 1" in client.get(page_of(world.completed)).content.decode()


@pytest.mark.parametrize("levels", [201, 970, 1023, 5000])
def test_page_shows_a_result_however_deep_it_is_nested(client, world, levels):
    Run.objects.filter(pk=world.completed.pk).update(result="[" * levels + "]" * levels)

    response = client.get(reverse("admin:flows_run_change", args=[world.completed.pk]))

    assert response.status_code == 200


@pytest.mark.parametrize(("consumer", "word"), [(None, "WAITING"), (1, "RUNNING")])
def test_a_run_whose_message_waits_is_called_so_on_every_page(client, world, consumer, word):
    Run.objects.filter(status=Run.Status.RUNNING).update(status=Run.Status.QUEUED)
    flow = make_flow("plain")
    run = Run.objects.get(pk=engine.start("plain", {}).correlation_id)
    Run.objects.filter(pk=run.pk).update(status=Run.Status.RUNNING)
    if consumer:
        Message.objects.filter(run=run).update(queue=None, consumer=consumer)

    for page in (LIST, page_of(run), f"/admin/flows/flow/{flow.pk}/change/"):
        words = re.findall(r">\s*(WAITING|RUNNING)\s*<", client.get(page).text)
        assert words == [word], page


def test_a_page_behind_the_last_one_leads_to_the_first_and_says_not_that_there_are_none(
    client, world
):
    html = client.get("/admin/flows/run/", {"p": "9999", "status": "COMPLETED"}).content.decode()

    assert "There are no runs on this page" in " ".join(html.split())
    assert "It appears here when a flow is started" not in html
    assert 'href="?status=COMPLETED">To the first page' in html
