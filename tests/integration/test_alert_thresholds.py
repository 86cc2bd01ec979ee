"""Thresholds that the configuration sets count wherever the rules of health are applied."""

from __future__ import annotations

import json
from contextlib import suppress
from datetime import timedelta

import pytest
from django.core.exceptions import ValidationError
from django.core.management import call_command
from django.urls import reverse
from django.utils import timezone
from prometheus_client.parser import text_string_to_metric_families

from flows import engine
from flows.models import AlertThresholds, CountBlock, Flow, LiveCluster, Message, Queue, Step
from flows.monitoring.health import Alarm, alarms
from flows.monitoring.thresholds import DEFAULT, ThresholdsInForce
from flows.tasks import clusters, counting, installation
from flows.tasks.clusters import ClusterStatus
from flows.tasks.measures import no_measures
from tests.builders import ECHO, make_flow, open_lease

pytestmark = pytest.mark.django_db

MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)


@pytest.fixture
def one_cluster(monkeypatch):
    live = [ClusterStatus("a", "m1", 1, timezone.now(), 2)]
    monkeypatch.setattr(clusters, "live_clusters", lambda: live)


def set_for(flow: str = "", queue: str = "", **values: object) -> AlertThresholds:
    row = AlertThresholds(
        flow=Flow.objects.filter(name=flow).first(),
        queue=Queue.objects.filter(name=queue).first(),
        **values,
    )
    row.full_clean()
    row.save()
    return row


def found() -> list[Alarm]:
    return alarms(installation.health())


def rules() -> list[str]:
    return [alarm.rule for alarm in found()]


def test_a_queue_comes_before_its_flow_and_the_flow_before_the_installation():
    make_flow("bill", codes=[ECHO, ECHO])
    set_for(queue_full=10, new_letters=2, standing_still=MINUTE)
    set_for("bill", queue_full=20, oldest_age=MINUTE)
    set_for(queue="bill-0", queue_full=30)

    thresholds = ThresholdsInForce.read()

    first, second = (thresholds.of_queue(f"bill-{number}", "bill") for number in (0, 1))
    other = thresholds.of_queue("other", "")
    assert [each.queue_full for each in (first, second, other)] == [30, 20, 10]
    assert [each.oldest_age for each in (first, second, other)] == [MINUTE, MINUTE, None]
    assert {each.standing_still for each in (first, second, other)} == {MINUTE}
    assert thresholds.of_flow("bill").new_letters == 2
    assert thresholds.of_flow("bill").failed_runs == DEFAULT.failed_runs


def test_without_any_they_are_the_engines():
    make_flow("bill")
    set_for("bill")

    thresholds = ThresholdsInForce.read()

    assert thresholds.installation == DEFAULT
    assert thresholds.of_queue("bill-0", "bill") == thresholds.of_flow("bill") == DEFAULT


def test_home_alerts_doctor_and_metrics_have_the_same(one_cluster, client, admin_user, capsys):
    make_flow("bill", codes=[ECHO], size=10)
    for _ in range(4):
        engine.start("bill", {})
    before = rules()
    set_for("bill", queue_full=40, new_letters=3, failed_share=7.5)

    after = rules()
    client.force_login(admin_user)
    home = client.get(reverse("admin:index")).context["alarms"]
    # The machine of the tests may lack something.
    with suppress(SystemExit):
        call_command("doctor", "--json")
    findings = json.loads(capsys.readouterr().out)["findings"]
    response = client.get("/async/metrics")

    assert (before, after) == ([], ["queue-full"])
    assert "4 of 10 messages" in found()[0].sentence
    assert [each["alarm"].rule for each in home] == ["queue-full"]
    assert [each["state"] for each in findings if each["name"] == "queue-full"] == ["warning"]
    values = {
        sample.name: sample.value
        for family in text_string_to_metric_families(response.content.decode())
        for sample in family.samples
        if "threshold" in sample.name
    }
    assert values == {
        "asyncengine_queue_full_threshold_ratio": 0.4,
        "asyncengine_queue_standing_still_threshold_seconds": 180,
        "asyncengine_flow_dead_letters_threshold": 3,
        "asyncengine_flow_failed_runs_threshold": 5,
        "asyncengine_flow_failed_threshold_ratio": 0.075,
        "asyncengine_flow_failed_factor_threshold": 2,
    }


def test_a_queue_that_is_worked_on_may_have_an_oldest_message_of_its_own(one_cluster):
    make_flow("bill", codes=[ECHO])
    engine.start("bill", {})
    open_lease("bill-0")
    Message.objects.update(available_at=timezone.now() - 10 * MINUTE)
    before = rules()
    row = set_for(queue="bill-0", oldest_age=10 * MINUTE)
    set_then = rules()
    AlertThresholds.objects.filter(pk=row.pk).update(oldest_age=11 * MINUTE)

    assert (before, set_then, rules()) == ([], ["queue-waiting-long"], [])


def test_a_queue_stands_still_after_its_own_time(one_cluster):
    make_flow("bill", codes=[ECHO])
    engine.start("bill", {})
    Message.objects.update(available_at=timezone.now() - 10 * MINUTE)
    before = rules()
    set_for("bill", standing_still=60 * MINUTE)

    assert (before, rules()) == (["queue-standing-still"], [])


@pytest.mark.parametrize(
    ("threshold", "longer"),
    [(30 * MINUTE, 50 * MINUTE), (90 * MINUTE, 3 * HOUR), (30 * HOUR, 50 * HOUR)],
    ids=str,
)
def test_a_queue_was_worked_on_for_as_long_as_it_may_stand_still(one_cluster, threshold, longer):
    make_flow("bill", codes=[ECHO])
    engine.start("bill", {})
    Message.objects.update(available_at=timezone.now() - longer)
    set_for("bill", standing_still=threshold)
    before = rules()
    step = Step.objects.get().name

    def work(age: timedelta) -> list[str]:
        CountBlock.objects.all().delete()
        measures = no_measures()
        measures["bill", step].events["completed"] = 1
        counting.count(measures, timezone.now() - age)
        return rules()

    assert before == ["queue-standing-still"]
    assert work(threshold - 5 * MINUTE) == []
    assert work(longer) == ["queue-standing-still"]


def test_workers_are_gone_after_the_time_that_is_set():
    LiveCluster("a", "a", True, 1, timezone.now() - MINUTE).tell()
    before = rules()
    row = set_for(workers_gone=2 * MINUTE)
    meanwhile = rules()
    LiveCluster.objects.update(seen_at=timezone.now() - 3 * MINUTE)

    assert (before, meanwhile, rules()) == (["workers-gone"], [], ["workers-gone"])
    assert row.workers_gone == 2 * MINUTE


def test_a_cluster_by_name_is_gone_after_the_time_that_is_set(one_cluster):
    make_flow("bill", codes=[ECHO])
    Queue.objects.update(cluster="reports")
    LiveCluster("reports:1", "reports", False, 1, timezone.now() - MINUTE).tell()
    before = rules()
    set_for(workers_gone=2 * MINUTE)

    assert (before, rules()) == (["cluster-gone"], [])


@pytest.mark.parametrize(
    ("place", "values", "field"),
    [
        ({}, {"queue_full": 0}, "queue_full"),
        ({}, {"queue_full": 101}, "queue_full"),
        ({}, {"standing_still": timedelta(0)}, "standing_still"),
        ({}, {"standing_still": timedelta(days=8)}, "standing_still"),
        ({}, {"oldest_age": timedelta(days=31)}, "oldest_age"),
        ({}, {"workers_gone": timedelta(seconds=14)}, "workers_gone"),
        ({}, {"workers_gone": timedelta(hours=2)}, "workers_gone"),
        ({}, {"failed_factor": 0.5}, "failed_factor"),
        ({}, {"new_letters": 0}, "new_letters"),
        ({"flow": "bill"}, {"workers_gone": MINUTE}, "workers_gone"),
        ({"queue": "bill-0"}, {"new_letters": 3}, "new_letters"),
        ({"flow": "bill", "queue": "bill-0"}, {}, "__all__"),
    ],
)
def test_what_makes_no_sense_is_refused_at_its_field(place, values, field):
    make_flow("bill", codes=[ECHO])

    with pytest.raises(ValidationError) as refused:
        set_for(**place, **values)

    assert field in refused.value.message_dict


@pytest.mark.parametrize("place", [{}, {"flow": "bill"}, {"queue": "bill-0"}])
def test_each_place_has_them_once(place):
    make_flow("bill", codes=[ECHO])
    set_for(**place, queue_full=50)

    with pytest.raises(ValidationError, match="It has thresholds already"):
        set_for(**place, queue_full=60)
