"""The whole installation, as alerts, metrics and `doctor` see it; home shows each user a part."""

from __future__ import annotations

from flows.models import Flow, Queue
from flows.monitoring.health import Snapshot
from flows.monitoring.overview import Overview, overview
from flows.tasks import clusters
from flows.tasks.clusters import ClusterStatus


def health(live: list[ClusterStatus] | None = None) -> Snapshot:
    """Return what the rules check, with these clusters; None: those that are alive now."""
    return seen(clusters.live_clusters() if live is None else live).health


def seen(live: list[ClusterStatus]) -> Overview:
    return overview(
        Flow.objects.all(),
        Queue.objects.all(),
        clusters=clusters.known_number(live),
        missing_measures=clusters.missing_measures(live),
        unreadable=clusters.unreadable(live),
    )
