"""The metrics as OTLP has them. Needs the extra `otel`."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator

from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.sdk.metrics import export
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from prometheus_client.core import Metric, Sample

SCOPE = InstrumentationScope("asyncengine")


class Pusher:
    """Sends metrics by OTLP over HTTP, as the variables of OpenTelemetry say."""

    def __init__(self) -> None:
        self.begun_at = time.time_ns()
        self.exporter = OTLPMetricExporter()

    def push(self, families: Iterable[Metric]) -> bool:
        """Return whether they were taken. The exporter tries again for some seconds."""
        data = metrics_data(families, self.begun_at, time.time_ns())
        return self.exporter.export(data) is export.MetricExportResult.SUCCESS


def metrics_data(families: Iterable[Metric], begun_at: int, now: int) -> export.MetricsData:
    """Return the metrics of now, in nanoseconds of the epoch; sums count from `begun_at`.

    Labels become attributes, and each name stays that of Prometheus.
    """
    metrics = [_metric(family, begun_at, now) for family in families if family.samples]
    scope = export.ScopeMetrics(SCOPE, metrics, "")
    # Its attributes are OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES.
    resource = Resource.create({"service.name": "asyncengine"})
    return export.MetricsData([export.ResourceMetrics(resource, [scope], "")])


def _metric(family: Metric, begun_at: int, now: int) -> export.Metric:
    cumulative = export.AggregationTemporality.CUMULATIVE
    unit = "s" if "_seconds" in family.name else ""
    data: export.DataT
    if family.type == "histogram":
        data = export.Histogram(list(_histograms(family.samples, begun_at, now)), cumulative)
        return export.Metric(family.name, family.documentation, unit, data)
    points = [
        export.NumberDataPoint(each.labels, begun_at, now, float(each.value))
        for each in family.samples
    ]
    if family.type == "counter":
        data = export.Sum(points, cumulative, is_monotonic=True)
        return export.Metric(f"{family.name}_total", family.documentation, unit, data)
    return export.Metric(family.name, family.documentation, unit, export.Gauge(points))


def _histograms(
    samples: Iterable[Sample], begun_at: int, now: int
) -> Iterator[export.HistogramDataPoint]:
    """Yield a point for each series: its buckets come first, then its count and its sum."""
    bounds: list[float] = []
    passed: list[float] = []
    for sample in samples:
        if sample.name.endswith("_bucket"):
            bounds.append(float(sample.labels["le"]))
            passed.append(sample.value)
        elif sample.name.endswith("_sum"):
            counts = [int(b - a) for a, b in zip([0.0, *passed], passed, strict=False)]
            yield export.HistogramDataPoint(
                attributes=sample.labels,
                start_time_unix_nano=begun_at,
                time_unix_nano=now,
                count=int(passed[-1]),
                sum=sample.value,
                bucket_counts=counts,
                explicit_bounds=bounds[:-1],
                # Not known, which the format allows.
                min=None,  # type: ignore[arg-type]
                max=None,  # type: ignore[arg-type]
            )
            bounds, passed = [], []
