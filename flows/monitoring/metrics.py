"""The metrics of the installation, for Prometheus and by OTLP.

They are read from what home's curves are drawn from, with a bounded number of queries: totals of
flows, counters of queues, blocks of counts, leases. No run is read. So each web process gives the
same figures, and a restart sets none back.

Labels have few values: names of the configuration, and fixed words.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from itertools import product

import orjson
from django.db import connection
from prometheus_client import CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from flows.models import (
    ConservationCheck,
    Consumer,
    CountBlock,
    Flow,
    FlowTotals,
    RefusedStarts,
    Step,
)
from flows.models.alert import AlertLevel
from flows.models.counts import ENDLESS_FROM, ENDLESS_SECONDS
from flows.monitoring import counters, histogram
from flows.monitoring.health import RULES, Snapshot, alarms
from flows.monitoring.overview import Overview, QueueState
from flows.monitoring.thresholds import Thresholds

PREFIX = "asyncengine_"
# Of the bounds of the histograms that are stored, those with a series: each twice the one before
# it, four times beyond two minutes.
BUCKETS = (*range(6, 42, 2), *range(44, histogram.BUCKETS, 4))

OF_FLOW = ("flow",)
OF_STEP = ("flow", "step")
OF_QUEUE = ("queue", "flow", "step")


@dataclass(frozen=True, slots=True)
class ClusterState:
    """A cluster that is alive: its workers for flows, and what the sandbox lacks there."""

    workers: int
    missing_measures: tuple[str, ...] = ()


def registry_of(seen: Overview, clusters: Collection[ClusterState] | None) -> CollectorRegistry:
    """Return what gives the metrics of a whole installation.

    `clusters`: those that are alive, None where they are not known.
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(EngineMetrics(seen, clusters))
    return registry


class EngineMetrics(Collector):
    """Makes metrics of what was seen, and reads the sums."""

    def __init__(self, seen: Overview, clusters: Collection[ClusterState] | None) -> None:
        self.seen = seen
        self.clusters = clusters

    def describe(self) -> Iterable[Metric]:
        """Return nothing: describing them must not read the database."""
        return ()

    def collect(self) -> Iterator[Metric]:
        yield from _families(self.seen, self.clusters, Stored.read())


def families() -> list[Metric]:
    """Return all that there may be, without figures."""
    seen = Overview(datetime.now(UTC), [], [], Snapshot())
    return list(_families(seen, (), Stored({}, {}, None, Sums({("", ""): {}}, {}))))


def _families(
    seen: Overview, clusters: Collection[ClusterState] | None, stored: Stored
) -> Iterator[Metric]:
    yield from _installation(seen, stored.latest_check)
    if clusters is not None:
        yield from _clusters(clusters)
    yield from _flows(seen, stored)
    yield from _queues(seen)
    yield from _sums(stored.sums)


def _gauge(name: str, text: str, labels: Sequence[str] = ()) -> GaugeMetricFamily:
    return GaugeMetricFamily(PREFIX + name, text, labels=labels)


def _counter(name: str, text: str, labels: Sequence[str] = ()) -> CounterMetricFamily:
    return CounterMetricFamily(PREFIX + name, text, labels=labels)


def _histogram(name: str, text: str, labels: Sequence[str]) -> HistogramMetricFamily:
    return HistogramMetricFamily(PREFIX + name, text, labels=labels)


# --- the installation ---------------------------------------------------------------------------


def _installation(seen: Overview, latest: ConservationCheck | None) -> Iterator[Metric]:
    info = _gauge("info", "The installation; always 1.", ("version", "database"))
    info.add_metric([engine_version(), connection.vendor], 1)
    yield info
    raised = Counter((alarm.rule, alarm.level) for alarm in alarms(seen.health))
    alarm_family = _gauge("alarms", "Alarms that home shows.", ("rule", "level"))
    for rule, level in product(RULES, AlertLevel):
        alarm_family.add_metric([rule, level.value], raised[rule, level])
    yield alarm_family
    faults = None if latest is None else len(orjson.loads(latest.faults))
    checked = None if latest is None else latest.checked_at.timestamp()
    yield _single("conservation_faults", "Faults that the last check has found.", faults)
    yield _single(
        "conservation_check_timestamp_seconds", "When conservation was checked last.", checked
    )


def engine_version() -> str:
    try:
        return version("asyncengine")
    except PackageNotFoundError:
        return ""


def _single(name: str, text: str, value: float | None) -> Metric:
    family = _gauge(name, text)
    if value is not None:
        family.add_metric([], value)
    return family


def _clusters(clusters: Collection[ClusterState]) -> Iterator[Metric]:
    yield _single("clusters", "Clusters that were alive in the last 15 seconds.", len(clusters))
    yield _single(
        "workers", "Workers for flows of these clusters.", sum(each.workers for each in clusters)
    )
    yield _single(
        "clusters_sandbox_incomplete",
        "Clusters on machines that lack a measure of the scripts' sandbox.",
        sum(1 for each in clusters if each.missing_measures),
    )
    missing = _gauge(
        "sandbox_measure_missing_clusters", "Clusters that lack this measure.", ("measure",)
    )
    for measure, count in sorted(Counter(m for e in clusters for m in e.missing_measures).items()):
        missing.add_metric([measure], count)
    yield missing


# --- flows --------------------------------------------------------------------------------------


def _flows(seen: Overview, stored: Stored) -> Iterator[Metric]:
    totals = stored.totals
    known = [(flow.name, totals.get(flow.name) or FlowTotals(flow.name)) for flow in seen.flows]
    started = _counter("runs_started", "Runs that were started.", OF_FLOW)
    ended = _counter(
        "runs_ended",
        "Runs that have ended; one that went on after a failure ends again.",
        ("flow", "status"),
    )
    made = _counter("dead_letters_made", "Messages that became dead letters.", OF_FLOW)
    unfinished = _gauge("runs_unfinished", "Runs that have not ended.", OF_FLOW)
    open_letters = _gauge("dead_letters_open", "Dead letters that wait for a decision.", OF_FLOW)
    active = _gauge("flow_active", "Whether the flow takes starts: 1 or 0.", OF_FLOW)
    for name, of_flow in known:
        ever = of_flow.ever()
        started.add_metric([name], ever["accepted"])
        for status in ("completed", "failed", "cancelled"):
            ended.add_metric([name, status], ever[status])
        made.add_metric([name], ever["letters"])
    for flow in seen.flows:
        # Runs that are left under earlier names of the flow count, too.
        left = sum(totals[name].unfinished for name in flow.names if name in totals)
        unfinished.add_metric([flow.name], left)
        open_letters.add_metric([flow.name], flow.open_letters)
        active.add_metric([flow.name], flow.active)
    yield from (started, ended, made, unfinished, open_letters, active)
    for metric, text, threshold in FLOW_THRESHOLDS:
        family = _gauge(metric, text, OF_FLOW)
        for flow in seen.flows:
            family.add_metric([flow.name], threshold(flow.thresholds))
        yield family
    yield _refused([flow.name for flow in seen.flows], stored.refused)


# What `AlertThresholds` sets, else what the engine has.
FLOW_THRESHOLDS: tuple[tuple[str, str, Callable[[Thresholds], float]], ...] = (
    (
        "flow_dead_letters_threshold",
        "Threshold of alarms: new dead letters.",
        lambda of_flow: of_flow.new_letters,
    ),
    (
        "flow_failed_runs_threshold",
        "Threshold of alarms: failed runs in an hour.",
        lambda of_flow: of_flow.failed_runs,
    ),
    (
        "flow_failed_threshold_ratio",
        "Threshold of alarms: failed runs among those that ended in an hour.",
        lambda of_flow: of_flow.failed_share / 100,
    ),
    (
        "flow_failed_factor_threshold",
        "Threshold of alarms: how many times the failed share of the week before.",
        lambda of_flow: of_flow.failed_factor,
    ),
)


def _refused(flow_names: list[str], counts: dict[tuple[str, str], int]) -> Metric:
    family = _counter("starts_refused", "Starts that were refused.", ("flow", "reason"))
    for name in flow_names:
        for cause in RefusedStarts.Cause.values:
            family.add_metric([name, cause], counts.get((name, cause), 0))
    return family


# --- queues -------------------------------------------------------------------------------------


def _queues(seen: Overview) -> Iterator[Metric]:
    for name, text, value in QUEUE_GAUGES:
        family = _gauge(name, text, OF_QUEUE)
        for queue in seen.queues:
            family.add_metric([queue.name, queue.flow, queue.step], value(queue))
        yield family
    leases = _gauge("queue_leases", "Sessions of workers that are alive.", OF_QUEUE)
    counts = Counter(_queue_of(consumer) for consumer in seen.consumers)
    for queue in seen.queues:
        leases.add_metric([queue.name, queue.flow, queue.step], counts[queue.pk])
    yield leases
    for name, text, threshold in QUEUE_THRESHOLDS:
        family = _gauge(name, text, OF_QUEUE)
        for queue in seen.queues:
            if (limit := threshold(queue.thresholds)) is not None:
                family.add_metric([queue.name, queue.flow, queue.step], limit)
        yield family


QUEUE_THRESHOLDS: tuple[tuple[str, str, Callable[[Thresholds], float | None]], ...] = (
    (
        "queue_full_threshold_ratio",
        "Threshold of alarms: messages and reserved room to the size.",
        lambda of_queue: of_queue.queue_full / 100,
    ),
    (
        "queue_standing_still_threshold_seconds",
        "Threshold of alarms: age of a message while no worker is at the queue.",
        lambda of_queue: of_queue.standing_still.total_seconds(),
    ),
    (
        "queue_oldest_age_threshold_seconds",
        "Threshold of alarms: age of the oldest ready message; none where it is not set.",
        lambda of_queue: of_queue.oldest_age.total_seconds() if of_queue.oldest_age else None,
    ),
)


def _queue_of(consumer: Consumer) -> int:
    return consumer.queue_id


def _age(queue: QueueState) -> float:
    return (queue.ready_for or timedelta()).total_seconds()


QUEUE_GAUGES = (
    (
        "queue_messages",
        "Messages in the queue, those that are worked on included.",
        lambda queue: queue.depth,
    ),
    (
        "queue_delayed_messages",
        "Delayed starts, which are not among the messages yet.",
        lambda queue: queue.delayed,
    ),
    (
        "queue_reserved_messages",
        "Room that is taken for messages on their way.",
        lambda queue: queue.reserved,
    ),
    (
        "queue_limit_messages",
        "The size: how many messages the queue holds.",
        lambda queue: queue.size,
    ),
    (
        "queue_oldest_age_seconds",
        "How long the oldest ready message waits; 0 without one.",
        _age,
    ),
    ("queue_paused", "Whether the queue or its flow is paused: 1 or 0.", lambda q: q.is_paused),
    ("queue_threads", "Threads of the step.", lambda queue: queue.threads),
    (
        "queue_busy_threads",
        "Threads that are granted to sessions of workers.",
        lambda queue: queue.busy,
    ),
)


# --- sums ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Sums:
    """What has been summed up for flows and steps that exist: by flow, step and name."""

    counts: dict[tuple[str, str], dict[str, float]]
    durations: dict[tuple[str, str], histogram.Histogram]

    @classmethod
    def read(cls) -> Sums:
        keys = [("", ""), *((name, "") for name in Flow.objects.values_list("name", flat=True))]
        keys += Step.objects.values_list("flow__name", "name")
        sums = cls({key: {} for key in sorted(keys)}, {})
        blocks = CountBlock.objects.filter(slot_seconds=ENDLESS_SECONDS)
        for flow, step, counts, durations in blocks.values_list(
            "flow_name", "step_name", "counts", "durations"
        ):
            if (flow, step) in sums.counts:
                numbers = orjson.loads(counts)
                sums.counts[flow, step] = {name: value[0] for name, value in numbers.items()}
                sums.durations[flow, step] = histogram.read(durations)
        return sums


def _sums(sums: Sums) -> Iterator[Metric]:
    yield from map(partial(_summed, sums), SUMS)
    runs = _histogram(
        "run_duration_seconds",
        "From the start of a run to its end, with all waiting; of runs without branches.",
        OF_FLOW,
    )
    steps = _histogram(
        "step_duration_seconds", "How long the script of a step ran with a message.", OF_STEP
    )
    for (flow, step), counts in sums.counts.items():
        if flow:
            family = steps if step else runs
            durations = sums.durations.get((flow, step), histogram.Histogram())
            family.add_metric(
                [flow, step] if step else [flow],
                buckets_of(durations),
                counts.get(counters.DURATIONS, 0.0),
            )
    yield from (runs, steps)
    lost = _counter("leases_lost", "Leases that ended while their worker used them.")
    lost.add_metric([], sums.counts["", ""].get(counters.LOST_LEASES, 0))
    yield lost


# The name of a metric, what it counts, and its labels beside flow and step.
SUMS = (
    (counters.CLAIMS, "claims", "Messages that workers have taken to run a script on.", ()),
    (
        counters.DELIVERIES,
        "deliveries",
        "Messages that were handed to a script, by what has become of them.",
        ("outcome", "reason"),
    ),
    (
        counters.RESTARTS,
        "script_host_restarts",
        "Processes of scripts that a script has ended.",
        ("reason",),
    ),
)


@dataclass(frozen=True, slots=True)
class Stored:
    """What is read beside the overview: totals by flow, refused starts by flow and cause."""

    totals: dict[str, FlowTotals]
    refused: dict[tuple[str, str], int]
    latest_check: ConservationCheck | None
    sums: Sums

    @classmethod
    def read(cls) -> Stored:
        rows = RefusedStarts.objects.filter(minute=ENDLESS_FROM)
        refused = {(flow, why): n for flow, why, n in rows.values_list(*REFUSED_COLUMNS)}
        totals = FlowTotals.objects.in_bulk()
        return cls(totals, refused, ConservationCheck.objects.first(), Sums.read())


REFUSED_COLUMNS = ("flow_name", "cause", "count")


def _summed(sums: Sums, wanted: tuple[str, str, str, tuple[str, ...]]) -> Metric:
    kind, name, text, labels = wanted
    family = _counter(name, text, (*OF_STEP, *labels))
    for (flow, step), counts in sums.counts.items():
        if step and not labels:
            family.add_metric([flow, step], counts.get(kind, 0))
        for key, value in counts.items():
            found, values = counters.labels_of(key)
            if step and labels and found == kind:
                family.add_metric([flow, step, *values], value)
    return family


def buckets_of(durations: histogram.Histogram) -> list[tuple[str, float]]:
    """Return the cumulative counts by the upper bounds, as Prometheus has them."""
    found: list[tuple[str, float]] = []
    passed, counted = 0, -1
    for bucket in BUCKETS:
        passed += sum(durations[each] for each in range(counted + 1, bucket + 1))
        counted = bucket
        found.append((f"{histogram.BOUNDS[bucket]:.4f}".rstrip("0").rstrip("."), passed))
    return [*found, ("+Inf", durations.total())]
