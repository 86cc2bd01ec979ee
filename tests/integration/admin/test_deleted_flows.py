"""A deleted flow is restored from its history, with its steps, or it is told what is missing."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.test import Client

from flows import engine
from flows.dead_letters import DeadLetterFilter
from flows.models import (
    AlertThresholds,
    AuditEntry,
    Flow,
    FlowSchedule,
    Queue,
    RoleMapping,
    Run,
    Step,
)
from flows.webhooks.secrets import secret_of
from scripts.models import Library, Script
from tests.builders import ECHO, make_flow, work_until_idle
from tests.integration.admin.pages import messages_of

pytestmark = pytest.mark.django_db

LIST = "/admin/flows/flow/deleted/"


def steps_of(flow: Flow) -> list[tuple[Any, ...]]:
    names = ("position", "name", "script__name", "queue__name", "threads", "join")
    return list(flow.steps.order_by("position").values_list(*names))


def restore(client: Client, name: str) -> Any:
    record = Flow.history.filter(name=name, history_type="-").first()
    return client.post(f"{LIST}{record.pk}/", follow=True)


@pytest.fixture
def orders(db) -> Flow:
    flow = make_flow("orders", [ECHO, ECHO, ECHO], threads=7)
    flow.make_version()
    return flow


def test_deleted_flow_is_listed_with_its_user_and_restored_with_its_steps(client, orders):
    before = steps_of(orders)
    client.post(f"/admin/flows/flow/{orders.pk}/delete/", {"post": "yes"})

    listed = client.get(LIST).content.decode()
    response = restore(client, "orders")

    restored = Flow.objects.get(name="orders")
    assert "orders" in listed
    assert ">root<" in listed
    assert steps_of(restored) == before
    assert "The flow orders is restored." in messages_of(response)
    assert "orders" not in [record.name for record in client.get(LIST).context["records"]]


def test_the_page_of_a_restoration_names_schedules_and_thresholds(client, orders):
    FlowSchedule.objects.create(flow=orders, name="nightly", cron="0 3 * * *")
    FlowSchedule.objects.create(flow=orders, name="old", cron="0 4 * * *", active=False)
    AlertThresholds.objects.create(flow=orders, new_letters=7)
    orders.delete()
    record = Flow.history.filter(name="orders", history_type="-").first()

    shown = " ".join(client.get(f"{LIST}{record.pk}/").content.decode().split())

    assert "The schedule nightly, 0 3 * * * in UTC: <strong>it starts runs from then on" in shown
    assert "The schedule old, 0 4 * * * in UTC: it is paused" in shown
    assert "Its alert thresholds" in shown


def test_restored_flow_runs_and_has_its_versions_and_runs_again(client, orders):
    engine.start("orders", {})
    versions = orders.versions.count()
    orders.delete()

    restore(client, "orders")
    restored = Flow.objects.get(name="orders")
    engine.start("orders", {})
    work_until_idle(restored)

    assert restored.versions.count() == versions
    runs = Run.objects.filter(flow_version__flow=restored)
    assert [run.status for run in runs] == ["COMPLETED", "COMPLETED"]


def test_scripts_and_queues_that_are_gone_are_restored_too(client, orders):
    script = Script.objects.get(name="orders-1")
    script.libraries = [Library.objects.create(name="tools", code="x = 1")]
    script.save()
    orders.make_version()
    before = steps_of(orders)
    orders.delete()
    Script.objects.get(name="orders-1").delete()
    Queue.objects.get(name="orders-2").delete()

    restore(client, "orders")

    assert steps_of(Flow.objects.get(name="orders")) == before
    assert [each.name for each in Script.objects.get(name="orders-1").libraries] == ["tools"]
    Queue.objects.get(name="orders-2").state.refresh_from_db()


def test_dead_letters_of_a_restored_queue_are_counted_as_its(client, orders):
    script = Script.objects.get(name="orders-1")
    script.code = "def handle(message):\n    raise ValueError\n"
    script.save()
    Queue.objects.update(max_deliveries=1)
    engine.start("orders", {})
    work_until_idle(orders)
    queue = Queue.objects.get(name="orders-1")
    queue.name = "renamed"
    queue.save()
    orders.make_version()
    orders.delete()
    queue.delete()

    restore(client, "orders")

    answer = client.get("/async/api/queues/renamed").json()
    assert DeadLetterFilter(queue="renamed").open(None).count() == 1
    assert answer["deadLetters"] == 1


def test_the_version_of_a_restoration_has_its_user(client, orders):
    orders.delete()
    Queue.objects.get(name="orders-0").delete()
    Queue.objects.create(name="orders-0", size=5)
    Script.objects.get(name="orders-1").delete()

    restore(client, "orders")

    newest = Flow.objects.get(name="orders").versions.order_by("number").last()
    assert str(newest.author) == "root"


def test_alert_thresholds_of_the_flow_and_its_queues_come_back(client, orders):
    queue = Queue.objects.get(name="orders-2")
    AlertThresholds.objects.create(flow=orders, failed_runs=3).delete()
    AlertThresholds.objects.create(flow=orders, failed_runs=7)
    AlertThresholds.objects.create(queue=queue, queue_full=12).delete()
    AlertThresholds.objects.create(queue=queue, queue_full=50)
    orders.delete()
    queue.delete()

    restore(client, "orders")

    flow, queue = Flow.objects.get(name="orders"), Queue.objects.get(name="orders-2")
    assert [row.failed_runs for row in flow.alert_thresholds.all()] == [7]
    assert [row.queue_full for row in queue.alert_thresholds.all()] == [50]


@pytest.mark.long
def test_script_and_queue_made_anew_under_the_name_are_used(client, orders):
    orders.delete()
    Script.objects.get(name="orders-0").delete()
    Queue.objects.get(name="orders-0").delete()
    Script.objects.create(name="orders-0", code=ECHO)
    Queue.objects.create(name="orders-0", size=5)

    restore(client, "orders")

    step = Step.objects.get(name="orders-0")
    assert step.queue.size == 5


def test_what_is_in_the_way_is_told_and_nothing_is_restored(client, orders):
    library = Library.objects.create(name="tools", code="x = 1")
    script = Script.objects.get(name="orders-1")
    script.libraries = [library]
    script.save()
    orders.make_version()
    orders.delete()
    Script.objects.get(name="orders-1").delete()
    library.delete()
    other = Flow.objects.create(name="other")
    Step.objects.create(
        flow=other,
        name="step",
        script=Script.objects.get(name="orders-0"),
        queue=Queue.objects.get(name="orders-0"),
    )

    response = restore(client, "orders")

    html = response.content.decode()
    assert "Libraries of the script orders-1 are gone: tools." in html
    assert "The queue orders-0 of the step orders-0 feeds the step step of the flow other" in html
    assert [flow.name for flow in Flow.objects.all()] == ["other"]
    assert not Script.objects.filter(name="orders-1").exists()


def test_flow_of_the_same_name_is_in_the_way(client, orders):
    orders.delete()
    Flow.objects.create(name="orders")

    html = restore(client, "orders").content.decode()

    assert "Another flow has the name orders" in html


def test_step_that_was_removed_before_is_not_restored(client, orders):
    orders.steps.get(name="orders-2").delete()
    orders.make_version()
    orders.delete()

    restore(client, "orders")

    assert [step[1] for step in steps_of(Flow.objects.get(name="orders"))] == [
        "orders-0",
        "orders-1",
    ]


def test_rights_of_roles_come_back_where_the_role_is_there(client, orders):
    stays, goes = (Group.objects.create(name=name) for name in ("shop", "gone"))
    for role in (stays, goes):
        RoleMapping.objects.create(role=role, right="operate", flow=orders)
    orders.delete()
    goes.delete()

    restore(client, "orders")

    mapping = RoleMapping.objects.get()
    assert (mapping.role, mapping.right, mapping.flow.name) == (stays, "operate", "orders")


def test_restoring_is_in_the_audit_log(client, orders):
    orders.delete()

    restore(client, "orders")

    entries = AuditEntry.objects.filter(verb="restore")
    assert sorted(entries.values_list("kind", "actor")) == [
        ("flow", "root"),
        *[("step", "root")] * 3,
    ]


def test_user_who_may_not_add_flows_restores_none(staff_client, give_right, orders):
    orders.delete()
    record = Flow.history.filter(history_type="-").get()
    staff = staff_client("flows.view_flow", "flows.change_flow")
    give_right("operate")

    assert staff.get(LIST).status_code == 403
    assert staff.post(f"{LIST}{record.pk}/").status_code == 403
    assert not Flow.objects.exists()


def test_webhooks_of_a_restored_flow_have_a_new_secret_which_is_told(client, orders):
    orders.webhook_url = "https://a.example/hook"
    orders.save()
    before = secret_of(orders)
    orders.delete()

    told = messages_of(restore(client, "orders"))

    assert secret_of(Flow.objects.get(name="orders")) != before
    assert any("signed with a new one" in each for each in told)
