"""Metrics that are pushed by OTLP, as a collector gets them."""

import pytest
from django.core.management import CommandError, call_command

from flows import engine
from flows.monitoring.histogram import of_seconds
from flows.tasks.counting import count
from flows.tasks.measures import Measured, no_measures
from tests.builders import ECHO, make_flow
from tests.loopback import serving

pytest.importorskip("opentelemetry.sdk", reason="the extra otel is not installed")

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)

PATH = "/v1/metrics"


@pytest.mark.django_db
def test_a_collector_gets_sums_gauges_and_histograms(monkeypatch):
    make_flow("bill", codes=[ECHO])
    engine.start("bill", {})
    measures = no_measures()
    measures["bill", "bill-0"].add(
        Measured({}, of_seconds([0.01, 0.01, 3.0]), {"seconds": 3.02, "claims": 3})
    )
    count(measures)

    with serving() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url("").rstrip("/"))
        collector.answers(PATH)
        call_command("push_metrics")
        collector.answers(PATH, 400)
        with pytest.raises(CommandError, match="not taken"):
            call_command("push_metrics")
        body = collector.received[0].body

    [resource] = ExportMetricsServiceRequest.FromString(body).resource_metrics
    metrics = {each.name: each for each in resource.scope_metrics[0].metrics}
    attributes = {each.key: each.value.string_value for each in resource.resource.attributes}
    assert attributes["service.name"] == "asyncengine"
    started = metrics["asyncengine_runs_started_total"].sum
    assert started.is_monotonic
    [point] = started.data_points
    assert (point.as_double or point.as_int) == 1
    assert [(each.key, each.value.string_value) for each in point.attributes] == [("flow", "bill")]
    [messages] = metrics["asyncengine_queue_messages"].gauge.data_points
    assert (messages.as_double or messages.as_int) == 1
    [took] = metrics["asyncengine_step_duration_seconds"].histogram.data_points
    assert (took.count, took.sum, sum(took.bucket_counts)) == (3, 3.02, 3)
    assert len(took.bucket_counts) == len(took.explicit_bounds) + 1
    assert not took.HasField("min")
    assert metrics["asyncengine_step_duration_seconds"].unit == "s"


def test_it_takes_a_second_or_more():
    with pytest.raises(CommandError, match="a second or more"):
        call_command("push_metrics", every=0.1)
