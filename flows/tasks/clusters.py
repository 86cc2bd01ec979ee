"""The clusters that are alive, as each of them notes its state every few seconds."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from django_q.conf import Conf

from flows.tasks import stats


@dataclass(frozen=True, slots=True)
class ClusterStatus:
    """`name` is that of its consumers, `workers` how many it has for flows, `missing_measures` what
    the sandbox lacks on its machine, `noted_at` when it noted its state, by its machine's clock.
    `unreadable`: the names of queues with messages that no key of it decrypts, and why.
    """

    name: str
    machine: str
    pid: int
    begun_at: datetime
    workers: int
    missing_measures: tuple[str, ...] = ()
    noted_at: datetime | None = None
    unreadable: tuple[tuple[str, str], ...] = ()


def live_clusters() -> list[ClusterStatus]:
    """Return those that were alive within the last 15 seconds, in one query."""
    return [
        ClusterStatus(
            getattr(stat, "cluster", ""),
            stat.host,
            stat.pid,
            stat.tob,
            getattr(stat, "flow_workers", 0),
            tuple(getattr(stat, "missing_measures", ())),
            stat.timestamp,
            tuple((queue, why) for queue, why in getattr(stat, "unreadable", ())),
        )
        for stat in stats.get_all()
    ]


def known_number(live: list[ClusterStatus]) -> int | None:
    """Return how many are alive, None where that is not known: a cache that the project has named
    may be of one process.
    """
    return len(live) or (None if Conf.conf.get("cache") else 0)


def missing_measures(live: list[ClusterStatus]) -> list[tuple[str, tuple[str, ...]]]:
    """Return what the sandbox lacks, by the names of machines."""
    return sorted({(each.machine, each.missing_measures) for each in live if each.missing_measures})


def unreadable(live: list[ClusterStatus]) -> dict[str, str]:
    """Return why messages cannot be read, by the names of their queues, with a machine."""
    return {queue: f"On {each.machine}: {why}" for each in live for queue, why in each.unreadable}


def unreadable_now() -> dict[str, str]:
    return unreadable(live_clusters())
