from __future__ import annotations

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from flows.admin.runs import id_bounds
from flows.models import Run
from tests.integration.admin.conftest import TRACEBACK

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
        ("created_at_to_0=rubbish", 5),
        ("q=zzz", 0),
    ],
)
def test_list_is_filtered(client, world, query, count):
    assert len(found(client.get(f"{LIST}?{query}"))) == count


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
