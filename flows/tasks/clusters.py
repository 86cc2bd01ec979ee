"""The clusters that are alive, as each of them notes its state every few seconds."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from django_q.conf import Conf

from flows.tasks import stats


@dataclass(frozen=True, slots=True)
class LiveCluster:
    """`name` is that of its consumers, `workers` how many it has for flows, `missing_measures` what
    the sandbox lacks on its machine.
    """

    name: str
    machine: str
    pid: int
    begun_at: datetime
    workers: int
    missing_measures: tuple[str, ...] = ()


def live_clusters() -> list[LiveCluster]:
    """Return those that were alive within the last 15 seconds, in one query."""
    return [
        LiveCluster(
            getattr(stat, "cluster", ""),
            stat.host,
            stat.pid,
            stat.tob,
            getattr(stat, "flow_workers", 0),
            tuple(getattr(stat, "missing_measures", ())),
        )
        for stat in stats.get_all()
    ]


def are_known() -> bool:
    """Whether this process can know them: not by a cache that the project has named."""
    return not Conf.conf.get("cache")
