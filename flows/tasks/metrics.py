"""The metrics of the whole installation, its clusters included."""

from __future__ import annotations

from prometheus_client import CollectorRegistry

from flows.monitoring.metrics import ClusterState, registry_of
from flows.tasks import clusters, installation


def registry() -> CollectorRegistry:
    """Return what gives the metrics of now."""
    live = clusters.live_clusters()
    states = [ClusterState(each.workers, each.missing_measures) for each in live]
    are_known = clusters.known_number(live) is not None
    return registry_of(installation.seen(live), states if are_known else None)
