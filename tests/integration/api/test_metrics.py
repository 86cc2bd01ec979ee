from __future__ import annotations

import re
import shutil
import subprocess
from datetime import timedelta
from pathlib import Path

import pytest
from django.contrib.auth.models import Permission
from django.utils import timezone
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics
from prometheus_client.parser import text_string_to_metric_families

from flows import engine
from flows.errors import PayloadInvalid, QueueFull
from flows.models import ConservationCheck, Flow, RefusedStarts
from flows.monitoring.health import RULES
from flows.starts.refusals import refusals
from flows.tasks import clusters
from flows.tasks.clusters import ClusterStatus
from flows.tasks.counting import count, purge_counts
from flows.worker.this_worker import this_worker
from scripts.models import Script
from tests.builders import ECHO, make_flow, work_until_idle
from tests.integration.api.helpers import assert_problem

METRICS = "/async/metrics"
MONITORING = Path(__file__).parents[3] / "asyncengine/deploy/monitoring"
METRIC = re.compile(r"\basyncengine_\w+")
ENDLESS = "def run(message, context):\n    while True:\n        pass\n"
ODD = """\
def run(message, context):
    if message["payload"].get("bad"):
        raise Reject("no")
    return message
"""


@pytest.fixture
def scraper(client, user):
    user.user_permissions.add(Permission.objects.get(codename="view_metrics"))
    return client


@pytest.fixture
def measured(measured_here):
    """Return what gives all that this process measures to the counts, as a broker does."""
    return lambda: count(measured_here(), now=timezone.now())


def values(response):
    """Return the values by the names and labels of the samples."""
    return {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(response.content.decode())
        for sample in family.samples
    }


def value(response, name, **labels):
    return values(response)[f"asyncengine_{name}", *sorted(labels.items())]


def test_metrics_take_a_login_and_their_own_permission(anonymous, client, admin, user, flow):
    assert_problem(anonymous.get(METRICS), 401, "not-authenticated")
    assert_problem(client.get(METRICS), 403, "no-role")
    assert_problem(client.get(METRICS + "?flowName=loan"), 400, "query-invalid")

    user.user_permissions.add(Permission.objects.get(codename="view_metrics"))
    response = client.get(METRICS, headers={"Accept": "text/plain"})

    assert response.status_code == 200
    assert response["Content-Type"].startswith("text/plain; version=")
    assert response["Cache-Control"] == "no-store"


def test_metrics_tell_what_has_happened_and_what_is(scraper, measured, monkeypatch, caplog):
    caplog.set_level("INFO", "flows.worker.delivery_log")
    flow = make_flow("bill", codes=[ECHO, ODD, ECHO], size=7)
    for payload in ({}, {}, {"bad": True}):
        engine.start("bill", payload)
    work_until_idle(flow)
    engine.start("bill", {})
    measured()
    # The log has a line for the dead letter, without its error.
    [line] = [each for each in caplog.records if each.name == "flows.worker.delivery_log"]
    assert line.getMessage() == "delivery ended: dead_lettered, rejected"
    assert (line.flow, line.step, line.attempt) == ("bill", "bill-1", 1)
    for error in (QueueFull, PayloadInvalid, PayloadInvalid):
        refusals.note_error("bill", error.__new__(error))
    refusals.write()
    ConservationCheck.objects.create(checked_at=timezone.now(), faults='["one"]')
    live = [
        ClusterStatus("a", "m1", 1, timezone.now(), 2),
        ClusterStatus("b", "m2", 1, timezone.now(), 3, ("no new privileges",)),
    ]
    monkeypatch.setattr(clusters, "live_clusters", lambda: live)

    seen = scraper.get(METRICS)

    first, second, _ = flow.steps.order_by("position")
    of_first = {"flow": "bill", "step": first.name}
    of_second = {"flow": "bill", "step": second.name}
    assert value(seen, "runs_started_total", flow="bill") == 4
    assert value(seen, "runs_ended_total", flow="bill", status="completed") == 2
    assert value(seen, "runs_ended_total", flow="bill", status="failed") == 1
    assert value(seen, "runs_unfinished", flow="bill") == 1
    assert value(seen, "dead_letters_made_total", flow="bill") == 1
    assert value(seen, "dead_letters_open", flow="bill") == 1
    assert value(seen, "starts_refused_total", flow="bill", reason="full") == 1
    assert value(seen, "starts_refused_total", flow="bill", reason="payload") == 2
    assert value(seen, "claims_total", **of_first) == 3
    outcomes = {"outcome": "accepted", "reason": ""}
    assert value(seen, "deliveries_total", **of_second, **outcomes) == 2
    rejected = {"outcome": "dead_lettered", "reason": "rejected"}
    assert value(seen, "deliveries_total", **of_second, **rejected) == 1
    assert value(seen, "step_duration_seconds_count", **of_first) == 3
    assert value(seen, "step_duration_seconds_sum", **of_first) > 0
    assert value(seen, "run_duration_seconds_count", flow="bill") == 3
    assert value(seen, "run_duration_seconds_bucket", flow="bill", le="+Inf") == 3
    of_queue = {**of_first, "queue": first.queue.name}
    assert value(seen, "queue_messages", **of_queue) == 1
    assert value(seen, "queue_limit_messages", **of_queue) == 7
    assert value(seen, "queue_oldest_age_seconds", **of_queue) >= 0
    assert value(seen, "queue_leases", **of_queue) == 0
    assert value(seen, "clusters") == 2
    assert value(seen, "workers") == 5
    assert value(seen, "clusters_sandbox_incomplete") == 1
    assert value(seen, "conservation_faults") == 1
    assert value(seen, "leases_lost_total") == 0
    for rule in RULES:
        raised = rule in {"conservation", "dead-letters", "sandbox-incomplete"}
        levels = [value(seen, "alarms", rule=rule, level=x) for x in ("critical", "warning")]
        assert sum(levels) == raised
    # Dashboard and rules name nothing that is not there.
    names = set(METRIC.findall(seen.content.decode()))
    for file in ("dashboard.json", "alerts.yml"):
        named = set(METRIC.findall((MONITORING / file).read_text(encoding="utf-8")))
        assert len(named) > 10
        assert named <= names
    # Each name has a help text and a type, and the other format has the same names.
    asked = {"Accept": "application/openmetrics-text; version=1.0.0"}
    other = scraper.get(METRICS, headers=asked).content.decode()
    assert {family.name for family in open_metrics(other)} == {
        family.name
        for family in text_string_to_metric_families(seen.content.decode())
        if family.documentation and family.type != "unknown"
    }


def test_sums_only_grow(scraper, measured):
    flow = make_flow("bill", codes=[ECHO])
    engine.start("bill", {})
    work_until_idle(flow)
    measured()
    refusals.add("bill", RefusedStarts.Cause.RATE)
    refusals.write()
    before = values(scraper.get(METRICS))

    while purge_counts(timezone.now() + timedelta(days=400), 100):
        pass

    after = values(scraper.get(METRICS))
    ages = {key for key in before if "age_seconds" in key[0]}
    assert {k: v for k, v in after.items() if k not in ages} == {
        k: v for k, v in before.items() if k not in ages
    }

    Flow.objects.update(name="other")
    while purge_counts(timezone.now(), 100):
        pass
    assert not RefusedStarts.objects.exists()


def test_a_renamed_flow_has_what_is_left_to_do_under_its_name_of_before(scraper):
    flow = make_flow("bill", codes=[ODD])
    engine.start("bill", {"bad": True})
    work_until_idle(flow)
    engine.start("bill", {})
    flow.name = "invoice"
    flow.save()

    seen = scraper.get(METRICS)

    assert value(seen, "dead_letters_open", flow="invoice") == 1
    assert value(seen, "runs_unfinished", flow="invoice") == 1
    assert value(seen, "runs_started_total", flow="invoice") == 0


def test_script_hosts_that_scripts_end_are_counted(scraper, measured):
    flow = make_flow("bill", codes=[ENDLESS], max_deliveries=1)
    Script.objects.update(timeout=timedelta(seconds=0.2))
    engine.start("bill", {})
    work_until_idle(flow)
    this_worker.measuring.note_lost_lease()
    measured()

    seen = scraper.get(METRICS)

    [step] = flow.steps.all()
    of_step = {"flow": "bill", "step": step.name}
    assert value(seen, "script_host_restarts_total", **of_step, reason="timeout") == 1
    assert value(seen, "leases_lost_total") == 1


@pytest.mark.promtool
@pytest.mark.skipif(not shutil.which("promtool"), reason="promtool is not on the path")
def test_promtool_finds_nothing_wrong_with_the_names(scraper, measured):
    make_flow("bill", codes=[ECHO])
    engine.start("bill", {})
    measured()

    output = scraper.get(METRICS).content
    done = subprocess.run(["promtool", "check", "metrics"], input=output, capture_output=True)

    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
