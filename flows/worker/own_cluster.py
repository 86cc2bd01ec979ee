"""What the settings say of the cluster of this process: its name, its reach and its workers."""

import hashlib

from django_q.conf import Conf

from flows.models.consumer import LONGEST_CLUSTER
from flows.store import Reach


def key_of(machine: str, pid: int) -> str:
    """Return the key of the cluster with this main process: machines may have long names."""
    key = f"{machine}:{pid}"
    if len(key) <= LONGEST_CLUSTER:
        return key
    return f"{machine[:40]}~{hashlib.sha256(key.encode()).hexdigest()[:12]}:{pid}"


def own_reach() -> Reach:
    return Reach(Conf.CLUSTER_NAME, bool(Conf.conf.get("bound_queues_only")))


def flow_workers() -> int:
    # django-q2 takes 0 for a number that is not given.
    return 0 if Conf.conf.get("workers") == 0 else int(Conf.WORKERS)


def most_flow_workers() -> int:
    """Return how many workers it may have by itself where messages wait."""
    return max(flow_workers(), int(Conf.conf.get("max_workers") or 0)) if flow_workers() else 0


def task_workers() -> int:
    default = max(flow_workers() - 1, 1)
    return int(Conf.conf.get("task_workers", default))
